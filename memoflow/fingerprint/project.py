"""Project: the directory that paths are relative to, so that another checkout finds the same.

It is the root of the repository or package that a file belongs to, or the file's own directory.
Nothing outside the standard library is used here.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import PurePath

_MARKERS = (".git", "pyproject.toml", "setup.py")
# A path in a longer text starts after these, or after `scheme://`, and ends before those.
_STARTS = r"""(?:^|(?<=[\s"'=,;(\[{<|&])|(?<=://)|(?<=:///))"""
_ENDS = r"""(?=\Z|[/"':])"""


@functools.cache
def root_of(path: str) -> str:
    """Return the root of the project that the file or directory `path` belongs to.

    That is the nearest directory upwards with a .git, pyproject.toml or setup.py, below the home
    directory and the file system's root; without one, the directory above the outermost package.
    """
    path = os.path.abspath(path)
    start = path if os.path.isdir(path) else os.path.dirname(path)
    home = os.path.abspath(os.path.expanduser("~"))
    above = start
    while os.path.isfile(os.path.join(above, "__init__.py")) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    found = above
    while found != home and os.path.dirname(found) != found:
        if any(os.path.exists(os.path.join(found, marker)) for marker in _MARKERS):
            return found
        found = os.path.dirname(found)
    return above


def relative(text: str, root: str) -> str | None:
    """Return a path below `root` relative to it, with slashes; None for any other path.

    The root itself is ".". A path that is relative already is to the working directory: None.
    """
    if not os.path.isabs(text):
        return None
    path = os.path.normpath(text)
    for each in (root, _real(root)):
        if _below(path, each):
            return os.path.relpath(path, each).replace(os.sep, "/")
    return None


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


@functools.cache
def _real(path: str) -> str:
    return os.path.realpath(path)


class Anchors:
    """The directories from those of some files up to the roots of their projects.

    A path below one of them counts as what it is from there. So it does not matter how far up
    the root is found: on another machine there need not be a repository around the same files.
    """

    def __init__(self, files: tuple[str, ...]) -> None:
        self._tokens: dict[str, str] = {}
        self._roots: set[str] = set()
        for i, file in enumerate(files):
            directory, root = os.path.dirname(os.path.abspath(file)), root_of(file)
            if root == os.path.dirname(root):
                continue  # All paths are below the root of the file system.
            for start, end in ((directory, root), (_real(directory), _real(root))):
                if _below(start, end):
                    self._roots.add(end)
                    above = (start, *map(str, PurePath(start).parents))
                    for level, each in enumerate(each for each in above if _below(each, end)):
                        self._tokens.setdefault(each, f"{i}:{level}")
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self.any = bool(self._roots)
        choices = "|".join(map(re.escape, longest_first))
        self._pattern = re.compile(f"{_STARTS}({choices}){_ENDS}")

    def inside(self, text: str) -> bool:
        """Return whether a text contains a root of the project; quick, and may be a false alarm."""
        return any(root in text for root in self._roots)

    def split(self, text: str) -> list[str] | None:
        """Return a text with the tokens of these directories at each odd place; None if in vain."""
        if not self.inside(text):
            return None
        pieces = self._pattern.split(text)
        if len(pieces) == 1:
            return None
        return [self._tokens[each] if i % 2 else each for i, each in enumerate(pieces)]


@functools.cache
def anchors(*files: str) -> Anchors | None:
    """Return the roots of relative paths for the code in these files, the first one first."""
    found = Anchors(files)
    return found if found.any else None
