INSERT INTO kinds (category, event_type) VALUES (?1, ?2) RETURNING kind_id
