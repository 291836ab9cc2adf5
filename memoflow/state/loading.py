"""Loading: a state from its structure and buffers, or only some paths of it."""

from __future__ import annotations

import difflib
import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from memoflow.errors import UsageError
from memoflow.pickling import MapLocation, UnreadBuffer, mapped_to
from memoflow.state.walk import leaves, pruned

_MOST_NAMES = 3


def load(
    structure: bytes,
    index: Mapping[str, Sequence[int]],
    read: Callable[[list[int]], Sequence[Any]],
    *,
    only: str | Sequence[str] | None = None,
    map_location: MapLocation = None,
) -> Any:
    """Return a state, in the memory of the buffers that `read` returns for their numbers.

    `read` is called once, or again for the rest where objects outside of `only` cannot be loaded
    without their buffers, which are writable. With `only`, a glob over paths or several,
    dicts lose all other keys, and other containers have None in place of the rest; a glob that
    matches a container stands for all in it. `map_location` is that of `torch.load`. UsageError for
    a glob without a match.
    """
    globs = None if only is None else [only] if isinstance(only, str) else list(only)
    file = io.BytesIO(structure)
    sizes, of_bytes = pickle.load(file)
    wanted = _wanted(index, len(sizes), globs)
    given = dict(zip(wanted, read(wanted), strict=True))
    others = [number for number in range(len(sizes)) if number not in given]
    begin = file.tell()
    buffers = [given[i] if i in given else UnreadBuffer(size) for i, size in enumerate(sizes)]
    with mapped_to(map_location):
        try:
            state = _StateUnpickler(file, buffers, frozenset(of_bytes)).load()
        except Exception:  # Of objects nobody asked for, perhaps, that refuse to be all zeros.
            if not others:
                raise
            file.seek(begin)
            given.update(zip(others, read(others), strict=True))
            buffers = [given[number] for number in range(len(sizes))]
            state = _StateUnpickler(file, buffers, frozenset(of_bytes)).load()
    return state if globs is None else _only(state, globs)


def _wanted(
    index: Mapping[str, Sequence[int]], count: int, globs: Sequence[str] | None
) -> list[int]:
    if globs is None:
        return list(range(count))
    always = set(range(count)).difference(*index.values())
    chosen = (index[path] for path in index if any(_is_match(path, glob) for glob in globs))
    return sorted(always.union(*chosen))


class _StateUnpickler(pickle.Unpickler):
    """Unpickles a state, whose leaves of bytes are buffers, too."""

    def __init__(self, file: io.BytesIO, buffers: list[Any], of_bytes: frozenset[int]) -> None:
        super().__init__(
            file, buffers=[each for i, each in enumerate(buffers) if i not in of_bytes]
        )
        self._buffers = buffers
        self._made: dict[int, bytes | bytearray] = {}

    def persistent_load(self, pid: tuple[bool, int]) -> bytes | bytearray:
        is_constant, number = pid
        if number not in self._made:
            buffer = self._buffers[number]
            if isinstance(buffer, UnreadBuffer):
                buffer = b""  # It is not wanted, and would be all zeros.
            self._made[number] = bytes(buffer) if is_constant else bytearray(buffer)
        return self._made[number]


def _only(state: Any, globs: Sequence[str]) -> Any:
    paths = [leaf.path for leaf in leaves(state)]
    for glob in globs:
        if not any(_is_match(path, glob) for path in paths):
            near = difflib.get_close_matches(glob, _names(paths), n=_MOST_NAMES, cutoff=0.4)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise UsageError(f"only={glob!r} matches nothing in the state{hint}")
    return pruned(state, iter([any(_is_match(path, glob) for glob in globs) for path in paths]))


def _is_match(path: str, glob: str) -> bool:
    return fnmatchcase(path, glob) or fnmatchcase(path, f"{glob}.*")


def _names(paths: Iterable[str]) -> list[str]:
    """Return the paths and those of the containers above them."""
    found: dict[str, None] = {}
    for path in paths:
        parts = path.split(".")
        found |= dict.fromkeys(".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return list(found)
