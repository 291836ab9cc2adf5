"""Index: this machine's SQLite memory of a store; delete it at any time."""

from memoflow.index.database import SQLITE_VERSION, network_file_system, private_directory
from memoflow.index.index import Day, Index, IndexEntry, MissCost, Outcome, PieceLocation, Tally

__all__ = [
    "SQLITE_VERSION",
    "Day",
    "Index",
    "IndexEntry",
    "MissCost",
    "Outcome",
    "PieceLocation",
    "Tally",
    "network_file_system",
    "private_directory",
]
