"""What is done to a whole store: checked, copied, moved, mended, erased from."""
