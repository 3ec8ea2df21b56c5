"""Processes that tests start and kill: each is run as a program."""
