"""Directories of a task's attempt: loaded ones, and temporary ones, also of killed attempts."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from memoflow import owned
from memoflow.kinds.legacy_identity import pathspec_hash

PREFIX = "metaflow_"
_MOST_REMOVED = 2  # directories of other dead tasks, by one task: it waits for that

T = TypeVar("T", covariant=True)


class Loaded(Mapping[str, T]):
    """The directories of loaded models or snapshots, by name."""

    absent: ClassVar[str] = "{!r} was not loaded"

    def __init__(self) -> None:
        self._paths: dict[str, T] = {}
        self._info: dict[str, dict[str, Any]] = {}

    @property
    def info(self) -> dict[str, dict[str, Any]]:
        """The reference dicts of the loaded models or snapshots, by the same names."""
        return self._info

    def __getitem__(self, name: str) -> T:
        if name not in self._paths:
            known = ", ".join(self._paths) or "none"
            raise KeyError(f"{self.absent.format(name)}; loaded: {known}")
        return self._paths[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class Scratch:
    """Temporary directories of one attempt, below `root` or the default directory.

    `owner` is what no other task on this machine has: a killed attempt cannot remove its own
    directories, so the next one of the same owner does, and each task removes some that dead ones
    of any flow left on this machine. A forked child removes none but its own.
    """

    def __init__(self, kind: str, owner: str, attempt: int, root: str | None) -> None:
        # Absolute, since a step may change its working directory.
        self._root = None if root is None else os.path.abspath(root)
        self._prefix = f"{PREFIX}{kind}_{pathspec_hash(owner)}_"
        self._attempt = attempt
        self._process = os.getpid()
        self._made: dict[str, tuple[int, owned.Directory]] = {}  # and by which process
        self._remove_up_to(attempt - 1)
        owned.reap(self._folder, PREFIX, most=_MOST_REMOVED)

    def new(self) -> str:
        """Make a directory and return its path."""
        if self._root is not None:
            os.makedirs(self._root, exist_ok=True)
        made = owned.Directory(f"{self._prefix}{self._attempt}_", self._root)
        self._made[made.name] = os.getpid(), made
        return made.name

    def remove(self, path: str) -> None:
        """Remove a directory that this process made; any other stays."""
        process, made = self._made.get(path, (None, None))
        if made is not None and process == os.getpid():
            made.cleanup()
            del self._made[path]

    def clean_up(self) -> None:
        """Remove all directories, also those of forked children."""
        if os.getpid() == self._process:
            for _, made in self._made.values():
                made.cleanup()
            self._remove_up_to(self._attempt)
            self._made.clear()

    @property
    def _folder(self) -> str:
        return self._root or tempfile.gettempdir()

    def _remove_up_to(self, last: int) -> None:
        for left in glob.glob(f"{glob.escape(self._folder)}/{self._prefix}*"):
            attempt = os.path.basename(left).removeprefix(self._prefix).partition("_")[0]
            if attempt.isdigit() and int(attempt) <= last:
                owned.forget(left.removesuffix(owned.LOCK))
