"""Kinds: a key and a payload each."""
