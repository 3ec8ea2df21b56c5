"""Deterministic simulation: seeded schedules of work, faults and decisions, checked throughout.

One program drives the parts of eskit through their ports, with a clock that it owns. See README.md
in this folder.
"""
