"""Connections that prove who they are."""
