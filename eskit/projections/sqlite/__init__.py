"""Read models in a SQLite file."""
