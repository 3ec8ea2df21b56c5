"""What the code that eskit generates imports, wherever it lies inside."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
