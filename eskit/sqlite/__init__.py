"""SQLite files below stores and read models: which file it is, and who has it open."""
