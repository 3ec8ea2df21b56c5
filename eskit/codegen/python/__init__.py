"""Typed Python, written from what the protos declare."""
