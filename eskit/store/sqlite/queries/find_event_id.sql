SELECT global_position FROM event_ids WHERE event_id = ?1
