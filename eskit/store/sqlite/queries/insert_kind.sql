INSERT INTO kinds (category, event_type) VALUES (?1, ?2)
