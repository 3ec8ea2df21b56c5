"""Services that start, stay healthy and stop; the embedded nats-server."""
