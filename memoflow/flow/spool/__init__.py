"""Spool: what save(wait=False) committed to this machine, and what uploads it."""
