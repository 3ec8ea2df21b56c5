DELETE FROM records WHERE kind = ?1 AND key = ?2 AND revision = ?3
