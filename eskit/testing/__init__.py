"""Given, when, then for rules and read models; contract suites for ports."""
