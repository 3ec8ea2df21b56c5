SELECT DISTINCT event_type FROM kinds ORDER BY event_type
