"""Proto files and what they declare, checked."""
