"""Revisions: the commits that branches and tags stand for, as inputs of a step's result.

To what keys results a revision is a read like any other, named
`current.huggingface_hub[model/org/name@main]`, or `...@main at hub.example` of another Hub.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from memoflow.errors import UsageError

if TYPE_CHECKING:
    from memoflow.kinds.hub import Wanted

_NAME = (
    r"current\.huggingface_hub\[(?P<type>\w+)/(?P<repo>[^@]+)@(?P<revision>.+?)( at (?P<at>\S+))?\]"
)

_seen: dict[str, str] = {}
_moved: set[str] = set()
_listeners: list[Callable[[str], None]] = []


def listen(tell: Callable[[str], None]) -> None:
    """Call `tell` with the name of each read from now on, in place of the former listener."""
    _listeners[:] = [tell]


def name_of(wanted: Wanted) -> str:
    return f"current.huggingface_hub[{wanted.name}]"


def parse(name: str) -> Wanted | None:
    """Return the repository and revision of a read by its name; None for any other read."""
    match = re.fullmatch(_NAME, name)
    if match is None:
        return None
    from memoflow.kinds.hub import Wanted  # Here, since few results depend on a revision.

    return Wanted(match["repo"], match["type"], match["revision"], at=match["at"] or "")


def note(wanted: Wanted, commit: str) -> None:
    """Note the commit that the running step has used."""
    name = name_of(wanted)
    if _seen.setdefault(name, commit) != commit:
        _moved.add(name)
    for tell in _listeners:
        tell(name)


def seen(name: str) -> str | None:
    """Return the commit that the running step has used; None if it has used none.

    UsageError if it has used two different ones.
    """
    if name in _moved:
        raise UsageError(f"{name} was one commit, and then another, while the step ran")
    return _seen.get(name)
