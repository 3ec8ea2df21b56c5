"""What is about PostgreSQL and not about events: connections, errors, a server of one's own."""
