"""Packages: whose code a file is, and which installed distribution provides a module."""

from __future__ import annotations

import functools
import os
import re
import sys

from xxhash import xxh3_128

_STDLIB = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_STDLIB_AS_NAMED = os.path.dirname(os.__file__) + os.sep
_SITES = ("site-packages", "dist-packages")
_INFO = re.compile(r"(?P<name>.+?)-(?P<version>\d[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info")

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


@functools.cache
def providers(top: str, path: str) -> tuple[tuple[str, str], ...]:
    """Return (distribution, version) of what installed the module file at `path`.

    Usually one; several if distributions overlap. A file that no distribution claims answers
    for itself: with its own `__version__`, or else the digest of its bytes.
    """
    site = site_of(path)
    if site is not None:
        infos = _infos(site)
        relative = os.path.relpath(path, site).replace(os.sep, "/")
        for guess in (top, _HINTS.get(top)):
            name = _normal(guess) if guess else None
            if name in infos and _claims(os.path.join(site, infos[name][0]), top, relative):
                return (_named(site, *infos[name]),)
        claims = [
            info for info in infos.values() if _claims(os.path.join(site, info[0]), top, relative)
        ]
        if claims:
            return tuple(sorted(_named(site, *info) for info in claims))
    version = getattr(sys.modules.get(top), "__version__", None)
    return ((top, version if isinstance(version, str) else _file_digest(path)),)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


@functools.cache
def _infos(site: str) -> dict[str, tuple[str, str, str]]:
    """Return normalised name -> (directory, name, version) of all that is installed in `site`."""
    infos = {}
    for entry in sorted(os.listdir(site)):
        match = _INFO.fullmatch(entry)
        if match:
            infos[_normal(match["name"])] = (entry, match["name"], match["version"])
    return infos


def _claims(info: str, top: str, relative: str) -> bool:
    """Say whether a dist-info or egg-info directory lists the file, or failing that its top."""
    record = _read(os.path.join(info, "RECORD"))
    if record is not None:
        line = relative.encode() + b","
        return record.startswith(line) or b"\n" + line in record
    tops = _read(os.path.join(info, "top_level.txt"))
    return tops is not None and top.encode() in tops.split()


def _named(site: str, directory: str, name: str, version: str) -> tuple[str, str]:
    metadata = _read(os.path.join(site, directory, "METADATA"), size=2000) or b""
    match = re.search(rb"^Name: *(\S+)", metadata, re.M)
    return (match[1].decode() if match else name), version


def _read(path: str, *, size: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return None


def _file_digest(path: str) -> str:
    data = _read(path)
    return "xxh3:" + xxh3_128(data).hexdigest() if data is not None else "no version"
