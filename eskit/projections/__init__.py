"""Events to read models: following, checkpoints, rebuilds."""
