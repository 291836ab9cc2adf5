"""Catalog: a store as people see it: entries by name, figures, decisions and maintenance."""
