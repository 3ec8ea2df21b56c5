"""Events in streams: the port, its adapters, and what reads aggregates from them."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
