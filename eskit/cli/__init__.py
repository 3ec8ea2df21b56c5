"""The eskit command line."""
