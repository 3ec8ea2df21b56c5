"""New projects, aggregates and projections from templates."""
