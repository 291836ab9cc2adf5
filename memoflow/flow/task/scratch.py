"""Scratch: temporary directories of a task's attempt, and what killed attempts left of theirs."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile

from memoflow.kinds.legacy_identity import pathspec_hash


class Scratch:
    """Directories that live as long as an attempt, made below `root` or where temporary files go.

    `owner` is what no other task on this machine has: a killed attempt cannot remove its own
    directories, so the next one of the same owner does. A forked child removes none but its own.
    """

    def __init__(self, kind: str, owner: str, attempt: int, root: str | None) -> None:
        # Absolute, since a step may change its working directory.
        self._root = None if root is None else os.path.abspath(root)
        self._prefix = f"metaflow_{kind}_{pathspec_hash(owner)}_"
        self._attempt = attempt
        self._process = os.getpid()
        self._made: dict[str, int] = {}  # and by which process
        self._remove_up_to(attempt - 1)

    def new(self) -> str:
        """Make a directory, and return it."""
        if self._root is not None:
            os.makedirs(self._root, exist_ok=True)
        made = tempfile.mkdtemp(prefix=f"{self._prefix}{self._attempt}_", dir=self._root)
        self._made[made] = os.getpid()
        return made

    def remove(self, path: str) -> None:
        """Remove a directory that this process made; any other stays."""
        if self._made.get(path) == os.getpid():
            shutil.rmtree(path, ignore_errors=True)
            del self._made[path]

    def clean_up(self) -> None:
        """Remove all that is left, of forked children as well."""
        if os.getpid() == self._process:
            self._remove_up_to(self._attempt)
            self._made.clear()

    def _remove_up_to(self, last: int) -> None:
        root = glob.escape(self._root or tempfile.gettempdir())
        for left in glob.glob(f"{root}/{self._prefix}*"):
            attempt = os.path.basename(left).removeprefix(self._prefix).partition("_")[0]
            if attempt.isdigit() and int(attempt) <= last:
                shutil.rmtree(left, ignore_errors=True)
