"""From proto files to typed Python."""
