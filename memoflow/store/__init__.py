"""The store: the one door."""
