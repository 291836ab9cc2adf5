"""Backends: bytes by name."""

from memoflow.backends.backend import Backend, BlobLocation, Found
from memoflow.backends.contact import first_read
from memoflow.backends.local import Local
from memoflow.backends.memory import Memory
from memoflow.backends.tiered import Tiered
from memoflow.backends.unconditional import Unconditional

__all__ = [
    "Backend",
    "BlobLocation",
    "Found",
    "Local",
    "Memory",
    "Tiered",
    "Unconditional",
    "first_read",
]
