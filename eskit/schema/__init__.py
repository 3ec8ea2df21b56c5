"""What protobuf knows: options, descriptors, and the JSON form of messages."""

from eskit.exports import lazy

__getattr__, __dir__ = lazy(__name__, __file__)
