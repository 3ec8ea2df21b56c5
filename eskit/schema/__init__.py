"""What protobuf knows: options, descriptors, and the JSON form of messages."""
