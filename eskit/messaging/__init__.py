"""The log on its way to NATS, and back to subscribers."""
