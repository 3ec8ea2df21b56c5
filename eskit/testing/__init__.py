"""Given, when, then for rules and read models; contract suites for those who write an adapter."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
