"""Spool: checkpoints of save(wait=False), committed to this machine, and their uploads."""
