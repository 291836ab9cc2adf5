"""Paths: the names of files in a read-set, the folders of a project, and the names in a folder.

Names of files in the project are relative to `base`, the directory of the script that was started,
so that another checkout has the same ones; names of other files are absolute.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

from memoflow.fingerprint.modules import site_of

# What the system and its libraries keep for themselves. Other folders of /usr may hold data.
_SYSTEM = (
    "/proc", "/sys", "/dev", "/etc", "/run", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot",
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec",
    "/usr/include", "/usr/local/include", "/usr/local/etc", "/usr/local/sbin",
    "/usr/local/share/fonts", "/usr/local/share/locale", "/usr/local/share/ca-certificates",
    "/usr/local/lib", "/usr/local/bin", "/usr/local/cuda", "/usr/share/locale", "/usr/share/fonts",
    "/usr/share/fontconfig", "/usr/share/zoneinfo", "/usr/share/mime", "/usr/share/terminfo",
    "/usr/share/ca-certificates", "/usr/share/git-core", "/usr/share/i18n", "/usr/share/misc",
    "/var/cache", "/var/lib", "/var/run",
    "/System", "/Library", "/private/etc", "/opt/homebrew",
)  # fmt: skip
# Prefixes of a Python that came with the system: others keep data below them, too.
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")
_CACHES = ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR")
_SETTINGS = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
_STORE = "/memoflow/"
_COMPILED = (".pyc", ".pyo", ".so", ".pyd", ".dylib")
_NEVER_WALKED = frozenset({".git", ".hg", ".svn", "node_modules", ".tox", ".nox"})
_MOST_LINKED = 500  # folders that links to outside of the project lead to
_MOST_VALUES = 1000
_LONGEST = 1024  # characters of a path
_CONTAINERS = (list, tuple, set, frozenset)
_NOT_COUNTED = frozenset({"__pycache__", ".metaflow", ".git", ".ipynb_checkpoints"})


class Paths:
    """The directories of a step's own files, and the owners of other files.

    `base` is the directory that names are relative to, `root` the project's, which is `base` or
    above it; `own` are folders of Metaflow's and memoflow's, which hold no input.
    """

    def __init__(self, base: str, root: str, own: Iterable[str] = ()) -> None:
        self.base = os.path.abspath(base)
        self.root = os.path.abspath(root)
        self._own = _folders(own)
        prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix}.difference(_SHARED_PREFIXES)
        self._libraries = _folders([*sorted(prefixes), os.path.dirname(os.__file__)])
        named = [os.environ.get(name, "") for name in (*_CACHES, *_SETTINGS)]
        self._hidden = _folders(filter(None, named))
        self._home = os.path.join(os.path.expanduser("~"), "")
        self._temporary = _folders([tempfile.gettempdir()])
        self._known: dict[str, bool] = {}

    def name(self, path: str) -> str:
        """Return the name of an absolute path in a read-set."""
        return os.path.relpath(path, self.base) if self.is_inside(path) else path

    def path(self, name: str) -> str:
        """Return the absolute path that a name stands for here."""
        return os.path.normpath(os.path.join(self.base, name))

    def is_inside(self, path: str) -> bool:
        """Return whether a path is in the project."""
        return path == self.root or path.startswith(os.path.join(self.root, ""))

    def counts(self, path: str) -> bool:
        """Return whether a file may be an input, going by where it lies."""
        if path.endswith(_COMPILED):
            return False
        folder = os.path.dirname(path)
        known = self._known.get(folder)
        if known is None:
            known = self._known[folder] = self._counts(folder, os.path.realpath(folder))
        # A hidden file or folder in the home directory holds settings.
        is_setting = path.startswith(f"{self._home}.") and not self.is_inside(path)
        return known and not is_setting and f"{path}/" not in self._own

    def is_temporary(self, path: str) -> bool:
        """Return whether a path lies among the temporary files, and not in the project."""
        return path.startswith(self._temporary) and not self.is_inside(path)

    def _counts(self, folder: str, real: str) -> bool:
        """Return whether the files of a folder may be inputs, by its name and its real path."""
        folder, real = os.path.join(folder, ""), os.path.join(real, "")
        for each in dict.fromkeys((folder, real)):
            if each.startswith(self._own) or site_of(each) is not None or self._is_store(each):
                return False
            if "/__pycache__/" in each:
                return False
            # An interpreter may lie in the project, but not the other way round.
            if each.startswith(self._libraries) and not self._is_above(each):
                return False
        if self.is_inside(folder.rstrip(os.sep) or os.sep):
            return True
        return not any(each.startswith((*_system(), *self._hidden)) for each in (folder, real))

    def _is_store(self, folder: str) -> bool:
        """Return whether a folder lies in a store of memoflow's, wherever that is."""
        at = folder.find(_STORE)
        return at >= 0 and os.path.exists(folder[: at + len(_STORE)] + "format.json")

    def _is_above(self, folder: str) -> bool:
        """Return whether an interpreter's prefix holds the project as well, such as /usr or /."""
        prefixes = [each for each in self._libraries if folder.startswith(each)]
        return all(self.root.startswith(each) or each == os.sep for each in prefixes)

    def folders(self, most: int) -> Folders:
        """Return the project's folders, nearest to `base` first, and those that links lead to."""
        return Folders(self.base, self.root, self._counts, most)


@functools.cache
def _system() -> tuple[str, ...]:
    """Return the folders of the system, once a step touches a file outside the project."""
    return _folders(_SYSTEM)


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    """Return folders as they are named and as they are, each with a slash at its end."""
    both = [(os.path.abspath(path), os.path.realpath(path)) for path in paths]
    return tuple(dict.fromkeys(os.path.join(each, "") for pair in both for each in pair))


class Folders:
    """The folders to be watched for a project, by name, and the links that lead to files there."""

    def __init__(self, base: str, root: str, counts: Callable[[str, str], bool], most: int) -> None:
        """Walk the folders that `counts` accepts; `whole` is False if there are over `most`."""
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


def paths_in(value: Any) -> Iterator[str]:
    """Yield the absolute paths that texts and paths in a value may name, files or not.

    A text is one if it has a slash, or a file of that name is here. Of containers, however deep,
    only some of what they hold is looked at.
    """
    ahead = [value]
    for _ in range(_MOST_VALUES):
        if not ahead:
            return
        each = ahead.pop()
        kind = type(each)
        if issubclass(kind, (str, PurePath)):
            # Not by a method of the user's, which a class that derives from `str` may have.
            text = str.__str__(each) if issubclass(kind, str) else os.fspath(each)
            if _may_be_path(text):
                yield os.path.abspath(os.path.expanduser(text))
        elif kind is dict:
            ahead += itertools.islice(each.values(), _MOST_VALUES)
        elif kind in _CONTAINERS:
            ahead += itertools.islice(each, _MOST_VALUES)


def _may_be_path(text: str) -> bool:
    if not 0 < len(text) <= _LONGEST or "\0" in text or "\n" in text or "://" in text:
        return False
    return os.sep in text or ("." in text and os.path.exists(text))


def names_in(folder: str) -> list[str] | None:
    """Return the names in a folder, sorted; None if there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if name not in _NOT_COUNTED)
    except (OSError, ValueError):
        return None


def split(pattern: str) -> tuple[str, list[str]]:
    """Return the folder that a pattern starts from, and the parts that are patterns."""
    parts = pattern.split(os.sep)
    at = next((i for i, part in enumerate(parts) if is_magic(part)), len(parts))
    return os.sep.join(parts[:at]) or os.sep, parts[at:]


def is_magic(text: str) -> bool:
    """Return whether a text is a pattern of names."""
    return any(character in text for character in "*?[")


def is_match(name: str, pattern: str) -> bool:
    """Return whether the name of a file matches a pattern, where `**` is any number of folders."""
    pattern = os.path.normpath(pattern)
    return fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, pattern.replace("**/", ""))


def names_matching(pattern: str) -> list[str] | None:
    """Return the names below the folder of a pattern that match it, sorted.

    As wide as any of Python's ways to match: hidden names count, links are followed, and `**` is
    any number of folders. None if there is no such folder.
    """
    folder, parts = split(pattern)
    if not os.path.isdir(folder):
        return None
    return sorted(set(_matching(folder, "", parts, frozenset())))


def _matching(folder: str, within: str, parts: list[str], seen: frozenset[str]) -> Iterator[str]:
    if not parts:
        return
    first, *rest = parts
    if first == "**":
        real = os.path.realpath(os.path.join(folder, within))
        if real in seen:
            return
        yield from _matching(folder, within, rest or ["*"], seen)
        for name in _folders_in(os.path.join(folder, within)):
            yield from _matching(folder, os.path.join(within, name), parts, seen | {real})
        return
    for name in names_in(os.path.join(folder, within)) or ():
        if fnmatch.fnmatch(name, first) or name == first:
            inner = os.path.join(within, name)
            if not rest or rest == [""]:
                yield inner
            elif os.path.isdir(os.path.join(folder, inner)):
                yield from _matching(folder, inner, rest, seen)


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                each.name for each in entries if each.name not in _NOT_COUNTED and each.is_dir()
            )
    except OSError:
        return []
