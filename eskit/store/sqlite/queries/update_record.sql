UPDATE records SET value = ?3, revision = revision + 1, updated_at = ?4
WHERE kind = ?1 AND key = ?2 AND revision = ?5
