"""Fingerprints: what determines a result."""
