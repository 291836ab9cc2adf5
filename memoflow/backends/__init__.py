"""Backends: bytes by name."""

from memoflow.backends.backend import (
    Backend,
    BlobLocation,
    Data,
    Forwarding,
    Found,
    Unconditional,
    chunks,
    first_read,
    honours_conditions,
)
from memoflow.backends.local import Local
from memoflow.backends.memory import Memory
from memoflow.backends.tiered import Tiered

__all__ = [
    "Backend",
    "BlobLocation",
    "Data",
    "Forwarding",
    "Found",
    "Local",
    "Memory",
    "Tiered",
    "Unconditional",
    "chunks",
    "first_read",
    "honours_conditions",
]
