"""What an application consists of, described from its protos, its app and its log."""
