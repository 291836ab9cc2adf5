"""Refs: what keys resolve to, read, written, listed and signed."""
