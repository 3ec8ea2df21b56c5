-- The commands stay known, so that a resend is not run again; what they answered goes.
UPDATE commands SET response = x'' WHERE stream_id = ?1
