"""What stands around every command and query: logging, faults, who may do what, your own."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
