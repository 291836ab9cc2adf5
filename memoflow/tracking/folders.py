"""Folders: those of a project, and the symbolic links in them.

The kernel tells by what folder a file is really in; who reads it through a link depends on the link
as well.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

_NEVER_WALKED = frozenset({".git", ".hg", ".svn", "__pycache__", "node_modules", ".tox", ".nox"})
_MOST_LINKED = 500  # folders that links to outside of the project lead to


class Folders:
    """The folders to be watched for a project, by name, and the links that lead to files there."""

    def __init__(self, base: str, root: str, counts: Callable[[str], bool], most: int) -> None:
        """Walk a project, nearest to `base` first; `whole` is whether `most` were enough."""
        self.found: list[str] = []
        self.whole = True
        self._root = os.path.join(os.path.realpath(root), "")
        self._counts = counts
        self._links: dict[str, list[str]] = {}
        self._walk(base, root, most)

    def names(self, path: str) -> list[str]:
        """Return the names that a file may have been opened by, given the one that was told."""
        if not self._links:
            return [path]
        links = self._links.get(path, [])
        below = self._links.get(os.path.dirname(path), ())
        links = [*links, *(os.path.join(each, os.path.basename(path)) for each in below)]
        return [*links, path] if not links or path.startswith(self._root) else links

    def _walk(self, base: str, root: str, most: int) -> None:
        ahead = deque(dict.fromkeys((base, root)))
        seen: set[str] = set()
        outside = 0
        while ahead:
            folder = ahead.popleft()
            real = os.path.realpath(folder)
            if real in seen or not self._counts(folder):
                continue
            seen.add(real)
            outside += not os.path.join(real, "").startswith(self._root)
            if len(self.found) >= most or outside > _MOST_LINKED:
                self.whole = False
                return
            self.found.append(folder)
            ahead += self._inner(folder)

    def _inner(self, folder: str) -> list[str]:
        inner: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for each in entries:
                    if each.is_symlink():
                        inner += self._linked(each.path)
                    elif each.name not in _NEVER_WALKED and each.is_dir():
                        inner.append(each.path)
        except OSError:
            return []
        # A virtual environment, whatever its name.
        return sorted(
            each for each in inner if not os.path.exists(os.path.join(each, "pyvenv.cfg"))
        )

    def _linked(self, link: str) -> Iterator[str]:
        """Keep a link, and yield the folder that is to be watched for it."""
        target = os.path.realpath(link)
        is_inside = target.startswith(self._root)
        if os.path.isdir(target):
            if is_inside:
                self._links.setdefault(target, []).append(link)
            else:
                yield link
        elif os.path.exists(target):
            self._links.setdefault(target, []).append(link)
            if not is_inside:
                yield os.path.dirname(target)
