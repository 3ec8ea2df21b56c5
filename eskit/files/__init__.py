"""Files on disk: who may read them, locks, and giving a finished one its name."""
