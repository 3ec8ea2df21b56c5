"""What people type and read: sizes, nearest names, characters."""
