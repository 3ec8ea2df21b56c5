"""Events, streams, claims and aggregates: the pure part, without I/O."""
