"""The log on its way to NATS, and back to subscribers."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
