"""Paths: checks on the relative paths of a saved tree, so that none leads outside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

MOST_FILES = 1_000_000
_LONGEST_PATH = 4096
_LONGEST_PART = 255
_DEEPEST = 256
_MOST_LINKS = 40  # as Linux follows at most
_MOST_FOLDERS = 2_000_000  # named or not: a short path can stand for hundreds of them
_MOST_STEPS = 10_000_000  # to follow all links of a tree


def check_path(path: str) -> None:
    """Raise ValueError with the reason if this cannot be a path inside a tree."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        raise ValueError(f"{path!r} has characters that no file name can have") from None
    if "\0" in path:
        raise ValueError(f"{path!r} has a NUL character")
    if path.startswith("/"):
        raise ValueError(f"{path!r} is absolute")
    if len(raw) > _LONGEST_PATH or any(len(part) > _LONGEST_PART for part in raw.split(b"/")):
        raise ValueError(f"{path[:60]!r}... is longer than a path can be")
    if path.count("/") >= _DEEPEST:
        raise ValueError(f"{path[:60]!r}... is deeper than {_DEEPEST} folders")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} is not in its plain form inside the tree")


def check_tree(files: Iterable[str], folders: Iterable[str], links: Mapping[str, str]) -> None:
    """Raise ValueError if paths are taken twice, lie below a file, or links lead outside."""
    leaves: set[str] = set()
    for path in (*files, *links):
        check_path(path)
        if path in leaves:
            raise ValueError(f"{path!r} is there twice")
        leaves.add(path)
    inner: set[str] = set()
    for folder in folders:
        check_path(folder)
        if folder in inner:
            raise ValueError(f"{folder!r} is there twice")
        inner.add(folder)
    for path in (*leaves, *inner):
        while (path := path.rpartition("/")[0]) and path not in inner:
            inner.add(path)
        if len(inner) > _MOST_FOLDERS:
            raise ValueError(f"more than {_MOST_FOLDERS} folders")
    for path in leaves & inner:
        raise ValueError(f"{path!r} is both a file and a folder")
    steps = 0
    for path, target in links.items():
        steps += _check_link(path, target, links)
        if steps > _MOST_STEPS:
            raise ValueError("its links lead through each other more often than can be followed")


def _check_link(path: str, target: str, links: Mapping[str, str]) -> int:
    """Raise ValueError if a link leads outside; return how many steps it takes to follow it."""
    try:
        raw = os.fsencode(target)
    except UnicodeEncodeError:
        raw = b""
    if not raw or b"\0" in raw or len(raw) > _LONGEST_PATH:
        raise ValueError(f"{path!r} links to nothing that a path can be")
    # Step by step, because ".." after another link leaves from where that link led to.
    where = path.split("/")[:-1]
    ahead = [path.split("/")[-1]]
    followed = steps = 0
    while ahead:
        part = ahead.pop()
        steps += 1
        if part == "..":
            if not where:
                raise ValueError(f"{path!r} links to {target!r}, outside the tree")
            where.pop()
        elif part not in ("", "."):
            where.append(part)
            next_target = links.get("/".join(where))
            if next_target is not None:
                followed += 1
                if next_target.startswith("/"):
                    raise ValueError(f"{path!r} links to {target!r}, an absolute path")
                if followed > _MOST_LINKS:
                    raise ValueError(f"{path!r} links to {target!r}, round in circles")
                where.pop()
                ahead.extend(reversed(next_target.split("/")))
    return steps
