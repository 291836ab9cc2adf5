"""Task: its identity, its process and its launching machine's settings."""
