"""Tracking: what code reads besides its arguments, seen while it runs, and asked again later."""

from memoflow.tracking.digests import ABSENT, FileDigests
from memoflow.tracking.hooks import active, begin, end, tracking
from memoflow.tracking.paths import Paths
from memoflow.tracking.tracker import AccessTracker
from memoflow.tracking.world import KINDS, Reads, World

__all__ = [
    "ABSENT",
    "KINDS",
    "AccessTracker",
    "FileDigests",
    "Paths",
    "Reads",
    "World",
    "active",
    "begin",
    "end",
    "tracking",
]
