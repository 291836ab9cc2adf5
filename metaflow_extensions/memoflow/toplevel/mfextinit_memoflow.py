"""Signpost: where the names are that `from metaflow import ...` finds."""

toplevel = "toplevel"
