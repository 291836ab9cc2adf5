"""Blind: a directory that takes names for one that differ only by case, as those of macOS do."""

from __future__ import annotations

import os
from collections.abc import Iterator

from memoflow.backends import Local
from memoflow.backends.backend import check_name


class Blind(Local):
    """Keep the case in which each name was made first, and find it by any other."""

    def _entries(self, directory: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        return super()._entries(self._path(prefix[:-1]) if prefix else directory, prefix)

    def _path(self, name: str) -> str:
        path = str(self.root)
        for part in check_name(name).split("/"):
            try:
                there = {each.casefold(): each for each in os.listdir(path)}
            except (FileNotFoundError, NotADirectoryError):
                there = {}
            path = f"{path}/{there.get(part.casefold(), part)}"
        return path
