"""Index: this machine's SQLite memory of a store; delete it at any time."""

from memoflow.index.database import SQLITE_VERSION
from memoflow.index.index import Day, Index, IndexEntry, Outcome, PieceLocation, Tally
from memoflow.index.location import network_file_system, private_directory

__all__ = [
    "SQLITE_VERSION",
    "Day",
    "Index",
    "IndexEntry",
    "Outcome",
    "PieceLocation",
    "Tally",
    "network_file_system",
    "private_directory",
]
