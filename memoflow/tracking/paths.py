"""Paths: the names that files have in a read-set, and the files that never count.

Names of files in the project are relative to `base`, the directory of the script that was started,
so that another checkout has the same ones; names of other files are absolute.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Iterable

from memoflow.fingerprint.packages import site_of
from memoflow.tracking.folders import Folders

# What the system and its libraries keep for themselves. Other folders of /usr may hold data.
_SYSTEM = (
    "/proc", "/sys", "/dev", "/etc", "/run", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/boot",
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec",
    "/usr/local/lib", "/usr/local/bin", "/usr/local/cuda", "/usr/share/locale", "/usr/share/fonts",
    "/usr/share/fontconfig", "/usr/share/zoneinfo", "/usr/share/mime", "/usr/share/terminfo",
    "/usr/share/ca-certificates", "/usr/share/git-core", "/usr/share/i18n", "/usr/share/misc",
    "/var/cache", "/var/lib", "/var/run",
    "/System", "/Library", "/private/etc", "/opt/homebrew",
)  # fmt: skip
_CACHES = ("XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR")
_SETTINGS = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
_STORE = "/memoflow/"
_COMPILED = (".pyc", ".pyo", ".so", ".pyd", ".dylib")


class Paths:
    """The directories of a step's own files, and the owners of other files.

    `base` is the directory that names are relative to, `root` the project's, which is `base` or
    above it; `own` are folders of Metaflow's and memoflow's, which hold no input.
    """

    def __init__(self, base: str, root: str, own: Iterable[str] = ()) -> None:
        self.base = os.path.abspath(base)
        self.root = os.path.abspath(root)
        self._own = _folders(own)
        self._libraries = _folders([sys.prefix, sys.base_prefix, sys.exec_prefix])
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
        if known and self._is_setting(path):
            return False
        return known and f"{path}/" not in self._own

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

    def _is_setting(self, path: str) -> bool:
        """Return whether a path is a hidden file or folder in the home directory."""
        if not path.startswith(self._home) or self.is_inside(path):
            return False
        return path[len(self._home) :].startswith(".")

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
