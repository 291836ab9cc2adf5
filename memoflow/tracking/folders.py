"""Folders: those of a project, and the symbolic links in them.

The kernel tells by what folder a file is really in; who reads it through a link depends on the link
as well.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator

_NEVER_WALKED = frozenset({".git", ".hg", ".svn", "node_modules", ".tox", ".nox"})
_MOST_LINKED = 500  # folders that links to outside of the project lead to


class Folders:
    """The folders to be watched for a project, by name, and the links that lead to files there."""

    def __init__(self, base: str, root: str, counts: Callable[[str, str], bool], most: int) -> None:
        """Walk a project, nearest to `base` first; `whole` is False if there are over `most`.

        `counts` says whether a folder, by its name and by its real path, may hold inputs.
        """
        self.found: list[str] = []
        self.caches: list[str] = []  # of compiled modules
        self.whole = True
        self._root = os.path.join(os.path.realpath(root), "")
        self._inside = os.path.join(root, "")
        self._real: dict[str, str] = {}  # of folders outside, by the name of the link
        self._counts = counts
        self._links: dict[str, list[str]] = {}
        self._walk(base, root, most)

    def names(self, path: str) -> list[str]:
        """Return the names that a file may have been opened by, given the one that was told."""
        if not self._links:
            return [path]
        folder, name = os.path.split(path)
        real = self._real.get(folder, folder)
        links = [os.path.join(each, name) for each in self._links.get(real, ())]
        links += self._links.get(os.path.join(real, name), ())
        # Outside, but for links, a file has no name in the project.
        return [path, *links] if not links or path.startswith(self._inside) else links

    def _walk(self, base: str, root: str, most: int) -> None:
        ahead = deque((each, os.path.realpath(each)) for each in (base, root))
        seen: set[str] = set()
        outside = 0
        while ahead:
            folder, real = ahead.popleft()
            if real in seen or not self._counts(folder, real):
                continue
            seen.add(real)
            if not f"{real}{os.sep}".startswith(self._root):
                outside += 1
                self._real[folder] = real
            if len(self.found) >= most or outside > _MOST_LINKED:
                self.whole = False
                return
            ahead += self._inner(folder, real)

    def _inner(self, folder: str, real: str) -> list[tuple[str, str]]:
        """Return the folders in one, by name and real path, and keep it, unless it is no data."""
        inner: list[tuple[str, str]] = []
        try:
            with os.scandir(folder) as entries:
                held = list(entries)
        except OSError:
            return []
        if any(each.name == "pyvenv.cfg" for each in held):
            return []  # A virtual environment, whatever its name.
        self.found.append(folder)
        for each in held:
            if each.is_symlink():
                inner += self._linked(each.path)
            elif not each.is_dir():
                continue
            elif each.name == "__pycache__":
                self.caches.append(each.path)
            elif each.name not in _NEVER_WALKED:
                inner.append((each.path, os.path.join(real, each.name)))
        return sorted(inner)

    def _linked(self, link: str) -> Iterator[tuple[str, str]]:
        """Keep a link, and yield the folder that is to be watched for it."""
        target = os.path.realpath(link)
        is_inside = target.startswith(self._root)
        if os.path.isdir(target):
            if is_inside:
                self._links.setdefault(target, []).append(link)
            else:
                yield link, target
        elif os.path.exists(target):
            self._links.setdefault(target, []).append(link)
            if not is_inside:
                yield os.path.dirname(target), os.path.dirname(target)
