"""Progress: the advance of long work, shown by a watcher if this process has one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")
Advance = Callable[[int], object]
# Of a label, a total and whether both count bytes: what is told of each advance. In one place for
# all threads, since a command has several and one screen.
Watcher = Callable[[str, int, bool], AbstractContextManager[Advance]]
_watchers: list[Watcher] = []


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Show the advance of the work in the block by a watcher."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def is_watched() -> bool:
    """Return whether anything is shown: only then a total is worth a listing."""
    return bool(_watchers)


@contextmanager
def counted(label: str, total: int, *, in_bytes: bool = False) -> Iterator[Advance]:
    """Yield the function to call, in any thread, with each number of items or bytes done."""
    if not _watchers:
        yield lambda done: None
        return
    with _watchers[-1](label, total, in_bytes) as advance:
        yield advance


def each(items: Collection[T], label: str) -> Iterator[T]:
    """Yield the items, each counted when the next is asked for."""
    with counted(label, len(items)) as advance:
        for item in items:
            yield item
            advance(1)
