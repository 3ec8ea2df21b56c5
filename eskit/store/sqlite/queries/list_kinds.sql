SELECT kind_id, category, event_type FROM kinds ORDER BY kind_id
