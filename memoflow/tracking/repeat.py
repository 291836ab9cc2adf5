"""Repeat: the reads of a call whose result was found, noted for the calls around it."""

from __future__ import annotations

import os
from collections.abc import Iterable

from memoflow.fingerprint import Part
from memoflow.tracking.digests import ABSENT
from memoflow.tracking.hooks import trackers
from memoflow.tracking.notes import CONTENT, KIND, SIZE
from memoflow.tracking.paths import Paths, is_magic
from memoflow.tracking.tracker import AccessTracker
from memoflow.tracking.world import LINK


def repeat_reads(reads: Iterable[Part], paths: Paths, *, until: float | None = None) -> None:
    """Note reads as if the code of this context had made them.

    What comes of them is to be used no longer than `until`, in Unix seconds.
    """
    for tracker in trackers():
        if not tracker.is_watching:
            continue
        tracker.note_until(until)
        with tracker.quiet:
            for part in reads:
                _note(tracker, part, paths.path(part.name.removesuffix(LINK)))


def _note(tracker: AccessTracker, part: Part, path: str) -> None:
    if part.kind == "file" and part.name.endswith(LINK):
        tracker.note_link(path)
    elif part.kind == "file":
        depth = {"xxh3": CONTENT, "size": SIZE, ABSENT: SIZE}.get(
            part.digest.partition(":")[0], KIND
        )
        tracker.note_read(path, depth)
    elif part.kind == "directory":
        note = tracker.note_pattern if is_magic(part.name) else tracker.note_listing
        note(path)
    elif part.kind == "environment":
        tracker.note_variable(part.name, os.environ.get(part.name))
    elif part.kind == "package":
        tracker.note_package(part.name)
    elif part.kind == "cwd":
        tracker.note_cwd()
    elif part.kind == "code":
        tracker.note_code(path, "")
    else:
        tracker.note_other(part.kind, part.name, part.digest, part.summary)
