"""Events in streams: the port, its adapters, and what reads aggregates from them."""
