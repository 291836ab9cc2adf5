"""Backends: bytes by name."""

from memoflow.backends.backend import Backend, Found
from memoflow.backends.local import Local
from memoflow.backends.memory import Memory

__all__ = ["Backend", "Found", "Local", "Memory"]
