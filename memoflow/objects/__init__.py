"""Objects: bytes by content."""
