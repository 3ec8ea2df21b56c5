"""What each screen shows, as data: the objects of ``--json``, for the terminal and for any other.

A report takes what the core gives and returns what JSON can hold. It knows of no terminal.
"""
