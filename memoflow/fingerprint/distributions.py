"""Distributions: those installed, their content, requirements and modules."""

from __future__ import annotations

import ast
import bisect
import functools
import json
import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

from xxhash import xxh3_64_hexdigest, xxh3_128

from memoflow.dataclass import dataclass
from memoflow.fingerprint.modules import site_of

# Patterns are texts, so that a process compiles only those that it uses.
_INFO = r"(?P<name>.+?)-(?P<version>\d[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info"
_REQUIRES = rb"(?m)^Requires-Dist: *([^\n\r]+)"
_REQUIREMENT = r"\s*([\w.-]+)\s*(?:\[([^\]]*)\])?[^;]*(?:;(.*))?"
_COMPARISON = (
    r"(?P<left>[\w.]+|'[^']*'|\"[^\"]*\")\s*(?P<how>===|[<>=!~]=|[<>]|not\s+in|in)\s*"
    r"(?P<right>[\w.]+|'[^']*'|\"[^\"]*\")"
)
_HEAD = 1 << 16  # bytes of METADATA, which begins with what counts and ends with a README
# Distributions of Metaflow and of this project: an upgrade must not empty the caches of the
# flows that run on them.
_OURS = frozenset(
    {"metaflow_memoflow", "metaflow", "metaflow_stubs", "ob_metaflow", "ob_metaflow_stubs"}
)
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


@dataclass(frozen=True)
class Distribution:
    """An installed distribution.

    `content` is a digest of the files that it installed, "" where it lists none; `info` the
    directory of its metadata, "" for a file that no distribution claims.
    """

    name: str
    version: str
    content: str = ""
    info: str = field(default="", compare=False)

    @property
    def digest(self) -> str:
        """The text in the fingerprint: the version, with a digest if equal versions differ."""
        return f"{self.version} {self.content}".rstrip()


@dataclass(frozen=True)
class _Entry:
    directory: str
    name: str
    version: str


@functools.lru_cache(maxsize=32)
def _installed_in(site: str, stamp: int) -> dict[str, _Entry]:
    """Return normalized name -> entry of all distributions installed in a site directory."""
    found = {}
    for directory in sorted(os.listdir(site)) if os.path.isdir(site) else ():
        match = re.fullmatch(_INFO, directory)
        if match:
            entry = _Entry(directory, match["name"], match["version"])
            found[normal(match["name"])] = entry
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def claims(site: str, entry: _Entry, top: str, relative: str) -> bool:
    """Return whether a distribution lists a file of its site directory, or failing that its top."""
    info = os.path.join(site, entry.directory)
    record = _record(info, stamp(site))
    if record is not None:
        line = relative.encode() + b","
        return record.startswith(line) or b"\n" + line in record
    return top in _tops(info)


@functools.lru_cache(maxsize=1024)
def _distribution(site: str, stamp: int, entry: _Entry) -> Distribution:
    info = os.path.join(site, entry.directory)
    match = re.search(rb"^Name: *(\S+)", _metadata(info, stamp), re.M)
    name = match[1].decode() if match else entry.name
    return Distribution(name, entry.version, _content(info, _record(info, stamp)), info)


def stamp(site: str) -> int:
    """Return the time of the last installation or removal in a site directory, in nanoseconds."""
    try:
        return os.stat(site).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _record(info: str, stamp: int) -> bytes | None:
    return read(os.path.join(info, "RECORD"))


@functools.lru_cache(maxsize=64)
def _metadata(info: str, stamp: int) -> bytes:
    """Return the head of the metadata; a README may follow it."""
    head = read(os.path.join(info, "METADATA"), size=_HEAD) or b""
    return head.replace(b"\r\n", b"\n").partition(b"\n\n")[0]


def _tops(info: str) -> list[str]:
    """Return the top-level modules that an older installer noted."""
    tops = read(os.path.join(info, "top_level.txt")) or b""
    return tops.decode("utf-8", "replace").split()


def _content(info: str, record: bytes | None) -> str:
    """Return a digest of the files that a distribution installed, the same wherever it is.

    By their hashes in RECORD, without what the installer adds: scripts name their interpreter,
    and the directory of metadata names the installer and where it all came from. That is also
    all there is of an editable install, whose code is the user's. Where there is no RECORD, as
    with a system's packages, the first file of each top-level module stands for the rest.
    """
    if record is None:
        inside = [os.path.join(os.path.dirname(info), top) for top in _tops(info)]
        paths = [path for top in inside for path in (f"{top}/__init__.py", f"{top}.py")]
        texts = [data for data in map(read, sorted(paths)) if data is not None]
        return xxh3_64_hexdigest(b"\0".join(texts)) if texts else ""
    # A line without a hash ends in a comma: compiled files, which only some installers list.
    text = record.replace(b"\r\n", b"\n").split(b"\n")
    lines = sorted([line for line in text if line and line[-1] != 44])
    for directory in (b"..", b"", os.path.basename(info).encode()):
        first, last = (bisect.bisect_left(lines, directory + end) for end in (b"/", b"0"))
        del lines[first:last]  # "0" comes after "/"
    if b"__editable__" in record or b".pth," in record:
        lines = [line for line in lines if b"__editable__" not in line and b".pth," not in line]
    commit, archive = _origin(info)
    if not lines:
        return xxh3_64_hexdigest(repr((commit, archive)).encode()) if commit or archive else ""
    return xxh3_64_hexdigest(b"\n".join([*lines, str(commit or "").encode()]))


def _origin(info: str) -> tuple[Any, Any]:
    """Return the commit and the archive that a distribution was installed from, None for none."""
    try:
        origin = json.loads(read(os.path.join(info, "direct_url.json")) or b"{}")
        return origin.get("vcs_info", {}).get("commit_id"), origin.get("archive_info")
    except (ValueError, AttributeError):
        return None, None


def read(path: str, *, size: int = -1) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return None


def required(roots: Iterable[Distribution]) -> Iterator[Distribution]:
    """Yield the distributions that these require, however indirectly, as far as installed."""
    todo = [(root.info, frozenset[str]()) for root in roots if root.info]
    seen = set(todo)
    sites = [os.path.dirname(info) for info, _ in todo]
    sites += [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    installed = [(site, _installed_in(site, stamp(site))) for site in dict.fromkeys(sites)]
    while todo:
        info, extras = todo.pop()
        for name, wanted in _requirements(info, stamp(os.path.dirname(info)), extras):
            for site, entries in installed:
                if name in entries and name not in _OURS:  # Nor what only ours require.
                    entry = entries[name]
                    found = os.path.join(site, entry.directory), wanted
                    if found not in seen:
                        seen.add(found)
                        todo.append(found)
                        yield _distribution(site, stamp(site), entry)
                    break


@functools.lru_cache(maxsize=1024)
def _requirements(
    info: str, stamp: int, extras: frozenset[str]
) -> tuple[tuple[str, frozenset[str]], ...]:
    """Return (normalized name, extras) of each requirement that applies here."""
    head = _metadata(info, stamp)
    lines = [line.decode("utf-8", "replace") for line in re.findall(_REQUIRES, head)]
    if not head:  # An egg-info: requirements up to the first section are those without a marker.
        text = (read(os.path.join(info, "requires.txt")) or b"").decode("utf-8", "replace")
        lines = text.partition("[")[0].splitlines()
    found = set()
    for line in lines:
        match = re.fullmatch(_REQUIREMENT, line)
        if match and applies(match[3] or "", extras):
            wanted = frozenset(normal(each.strip()) for each in (match[2] or "").split(",") if each)
            found.add((normal(match[1]), wanted))
    return tuple(sorted(found, key=lambda each: (each[0], sorted(each[1]))))


def applies(marker: str, extras: frozenset[str]) -> bool:
    """Return whether an environment marker is true here; True for one that cannot be told."""
    if not marker.strip() or ("extra" in marker and not extras and " or " not in marker):
        return not marker.strip()

    def compared(match: re.Match[str]) -> str:
        left, how, right = match["left"], " ".join(match["how"].split()), match["right"]
        if "extra" in (left, right):
            wanted = normal((right if left == "extra" else left).strip("'\""))
            return str((wanted in extras) == (how == "=="))
        a, b = _value(left), _value(right)
        return "True" if a is None or b is None else str(_compare(a, b, how))

    try:
        return _logic(ast.parse(re.sub(_COMPARISON, compared, marker.strip()), mode="eval").body)
    except (SyntaxError, ValueError):
        return True


def _logic(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp):
        values = [_logic(each) for each in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return node.value
    raise ValueError("it is no marker")


def _value(operand: str) -> str | None:
    if operand[0] in "'\"":
        return operand[1:-1]
    return _environment().get(operand)


@functools.cache
def _environment() -> dict[str, str]:
    return {
        "implementation_name": sys.implementation.name,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_system": platform.system(),
        "python_full_version": platform.python_version(),
        "python_version": "{}.{}".format(*sys.version_info),
        "sys_platform": sys.platform,
    }


_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "===": operator.eq, "~=": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _compare(left: str, right: str, how: str) -> bool:
    if how in ("in", "not in"):
        return (left in right) == (how == "in")
    versions = [re.findall(r"\d+", each.replace("*", "")) for each in (left, right)]
    if all(each[:1].isdigit() for each in (left, right)):
        a, b = ([int(number) for number in each] for each in versions)
        if how == "~=":
            return a >= b and a[: len(b) - 1] == b[:-1]
        if right.endswith(".*"):
            a = a[: len(b)]
        size = max(len(a), len(b))
        a, b = (each + [0] * (size - len(each)) for each in (a, b))
        return _ORDERS[how](a, b)
    return _ORDERS[how](left, right)


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
    if not isinstance(version, str):
        data = read(path)
        version = f"xxh3:{xxh3_128(data).hexdigest()}" if data is not None else "no version"
    return (Distribution(top, version),)


@functools.lru_cache(maxsize=4096)
def _claiming(site: str, when: int, top: str, path: str) -> tuple[Distribution, ...]:
    infos = _installed_in(site, when)
    relative = os.path.relpath(path, site).replace(os.sep, "/")
    for guess in (top, _HINTS.get(top)):
        name = normal(guess) if guess else None
        if name in infos and claims(site, infos[name], top, relative):
            return (_distribution(site, when, infos[name]),)
    found = [entry for entry in infos.values() if claims(site, entry, top, relative)]
    every = (_distribution(site, when, entry) for entry in found)
    return tuple(sorted(every, key=lambda each: (each.name, each.digest)))
