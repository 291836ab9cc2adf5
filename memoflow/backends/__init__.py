"""Backends: bytes by name."""

from memoflow.backends.backend import Backend, Found, Place
from memoflow.backends.contact import first_read
from memoflow.backends.local import Local
from memoflow.backends.memory import Memory
from memoflow.backends.tiered import Tiered
from memoflow.backends.unconditional import Unconditional

__all__ = ["Backend", "Found", "Local", "Memory", "Place", "Tiered", "Unconditional", "first_read"]
