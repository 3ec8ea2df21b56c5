"""The services of an app over gRPC, and the transport of its clients."""
