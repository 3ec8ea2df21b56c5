"""Documents that are run: every command and snippet in them, and what the commands print."""
