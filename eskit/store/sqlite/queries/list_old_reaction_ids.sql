SELECT command_id FROM commands WHERE recorded_at < ?1 AND command_id GLOB 'reaction:*'
