"""What speaks NATS and knows nothing of a store: connections, logins, JetStream, a server."""
