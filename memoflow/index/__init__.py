"""Index: this machine's SQLite memory of a store; delete it at any time."""

from memoflow.index.index import Entry, Index, Outcome, Place
from memoflow.index.location import private_directory

__all__ = ["Entry", "Index", "Outcome", "Place", "private_directory"]
