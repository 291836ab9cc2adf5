"""Packages: the owner of a file, and the distribution that provides a module."""

from __future__ import annotations

import functools
import os
import sys

from xxhash import xxh3_128

from memoflow.fingerprint.distributions import (
    Distribution,
    claims,
    distribution,
    installed_in,
    normal,
    read,
    stamp,
)

_STDLIB = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_STDLIB_AS_NAMED = os.path.dirname(os.__file__) + os.sep
_SITES = ("site-packages", "dist-packages")

# Upgrading these must not empty the caches of the flows that run on them.
OURS = frozenset({"metaflow", "memoflow", "metaflow_extensions"})

# Where to look first; a wrong or missing hint costs a scan, never a wrong answer.
_HINTS = {
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv_python",
    "dateutil": "python_dateutil",
    "skimage": "scikit_image",
    "sklearn": "scikit_learn",
    "yaml": "pyyaml",
}


def site_of(path: str) -> str | None:
    """Return the site directory a file lies in, or None if it was not installed there."""
    best = -1
    for site in _SITES:
        at = path.rfind(os.sep + site + os.sep)
        if at >= 0:
            best = max(best, at + 1 + len(site))
    return path[:best] if best > 0 else None


def is_stdlib(module: str, path: str | None) -> bool:
    """Say whether a module, loaded from `path` or built in, comes with Python."""
    if path is None or path.startswith("<frozen"):
        top = module.partition(".")[0]
        return top in sys.builtin_module_names or top in sys.stdlib_module_names
    if site_of(path) is not None:
        return False
    return path.startswith((_STDLIB, _STDLIB_AS_NAMED))


def providers(top: str, path: str) -> tuple[Distribution, ...]:
    """Return the distributions that installed the module file at `path`.

    Usually one; several if distributions overlap. A file that no distribution claims answers
    for itself: with its own `__version__`, or else the digest of its bytes.
    """
    site = site_of(path)
    if site is not None:
        found = _claiming(site, stamp(site), top, path)
        if found:
            return found
    version = getattr(sys.modules.get(top), "__version__", None)
    return (Distribution(top, version if isinstance(version, str) else _file_digest(path)),)


@functools.lru_cache(maxsize=4096)
def _claiming(site: str, when: int, top: str, path: str) -> tuple[Distribution, ...]:
    infos = installed_in(site)
    relative = os.path.relpath(path, site).replace(os.sep, "/")
    for guess in (top, _HINTS.get(top)):
        name = normal(guess) if guess else None
        if name in infos and claims(site, infos[name], top, relative):
            return (distribution(site, infos[name]),)
    found = [entry for entry in infos.values() if claims(site, entry, top, relative)]
    every = (distribution(site, entry) for entry in found)
    return tuple(sorted(every, key=lambda each: (each.name, each.digest)))


def _file_digest(path: str) -> str:
    data = read(path)
    return "xxh3:" + xxh3_128(data).hexdigest() if data is not None else "no version"
