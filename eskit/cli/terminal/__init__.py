"""How anything looks on a terminal, in a pipe and as JSON."""
