"""Refs: the answers to keys, read, written, listed and signed."""
