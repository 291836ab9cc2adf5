"""Tracking: accesses of running code besides its arguments, noted, and repeated later."""

from memoflow.tracking.digests import ABSENT, FileDigests, State, UnreadableError, state_of
from memoflow.tracking.hooks import (
    active,
    begin,
    end,
    follow_executors,
    known_calls,
    trackers,
    tracking,
    tracking_call,
)
from memoflow.tracking.paths import Paths, is_match, paths_in
from memoflow.tracking.tracker import AccessTracker
from memoflow.tracking.world import ReadSet, World, matches, part_named

__all__ = [
    "ABSENT",
    "AccessTracker",
    "FileDigests",
    "Paths",
    "ReadSet",
    "State",
    "UnreadableError",
    "World",
    "active",
    "begin",
    "end",
    "follow_executors",
    "is_match",
    "known_calls",
    "matches",
    "part_named",
    "paths_in",
    "state_of",
    "trackers",
    "tracking",
    "tracking_call",
]
