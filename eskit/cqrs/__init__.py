"""Commands and queries: dispatch, services, clients."""
