SELECT number, name, checksum FROM eskit_migrations WHERE projection = ? ORDER BY number
