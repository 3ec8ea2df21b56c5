SELECT kind_id FROM kinds WHERE category = ?1 AND event_type = ?2
