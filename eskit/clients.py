"""Calling the commands and queries of an application, in this process or over NATS."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
