"""Task: what a task is, where it runs, and what it was told by who launched it."""
