"""Growing files: a consistent copy of files that others write to during the save.

All is stored, and then surveyed again: what has changed is stored anew, until nothing has. A file
that was only appended to counts as it was first seen: what was read of it is read a second time,
and was the same at the moment between both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from memoflow.errors import UsageError
from memoflow.log import log
from memoflow.objects.tree import TICK_S, Source, State, Tree
from memoflow.threads import stop_check

_PAUSES_S = (0.0, 0.01, 0.05, 0.1, 0.2, 0.2, 0.3, 0.3, 0.5, 0.5)
# What is written over in place, piece by piece, is not read before it has been left alone so long.
_STILL_S = 0.25
_MOST_NAMED = 3


class ChangedError(UsageError):
    """A file or folder changed while it was saved."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} changed while it was being saved; save when nothing writes to it")


def settle(
    tree: Tree,
    store: Callable[[Sequence[Source]], None],
    is_same: Callable[[Source], bool],
) -> Tree:
    """Store a tree's files, those that change meanwhile again, and return the tree that was stored.

    `is_same` reads a file again as far as it was stored, and tells whether that is the same.
    ChangedError if it does not hold still for as long as it takes to look.
    """
    check = stop_check()
    tree.wait_a_tick()
    store(tree.sources)
    stored = {source.path: source for source in tree.sources}
    blamed, seen = "", dict[str, State | None]()
    for pause_s in _PAUSES_S:
        check()
        if pause_s:
            time.sleep(pause_s)
        now = tree.again()
        if any(_has_grown(stored.get(each.path), each) for each in now.sources):
            time.sleep(TICK_S)  # A write that was under way at the first reading is over then.
        changed = [each for each in now.sources if not _holds(stored.get(each.path), each, is_same)]
        if not changed and now.has_names_of(tree):
            now.sources = [stored[each.path] for each in now.sources]
            _tell(now)
            return now
        if changed:
            content = changed[0].content
            blamed = content if isinstance(content, str) else changed[0].path
        restless = [
            each
            for each in changed
            if _is_written_over(stored.get(each.path), each) and seen.get(each.path) != each.state
        ]
        if restless:
            seen.update((each.path, each.state) for each in restless)
            time.sleep(_STILL_S)
        elif changed:
            now.wait_a_tick()
            store(changed)
            stored.update((each.path, each) for each in changed)
        tree = now
    raise ChangedError(blamed or str(tree.root))


def _holds(stored: Source | None, now: Source, is_same: Callable[[Source], bool]) -> bool:
    """Tell whether the stored bytes of a file are still its content, or the beginning of it."""
    if stored is None or stored.gone or stored.executable != now.executable:
        return False
    if stored.is_memory:
        return is_same(stored)  # It has no times that would tell.
    return stored.state == now.state or (_has_grown(stored, now) and is_same(stored))


def _is_written_over(stored: Source | None, now: Source) -> bool:
    if stored is None or stored.state is None or now.state is None:
        return False
    return now.state[0] == stored.state[0] and now.state != stored.state


def _has_grown(stored: Source | None, now: Source) -> bool:
    if stored is None or stored.state is None or now.state is None:
        return False
    return now.state[0] == stored.state[0] and now.state[1] > stored.state[1]


def _tell(tree: Tree) -> None:
    if not tree.passed_over:
        return
    named = [f"{path} ({why})" for path, why in list(tree.passed_over.items())[:_MOST_NAMED]]
    more = len(tree.passed_over) - len(named)
    log.warning(
        "not saved of %s: %s%s", tree.root, ", ".join(named), f", and {more} more" * (more > 0)
    )
