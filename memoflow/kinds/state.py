"""States in checkpoints: plain files for whole and partial loads.

state.safetensors   tensors, arrays and bytes, by their paths in the state
state.pickle        the rest, and how all of it goes together
state.json          which bytes of the first file the leaves at a path need
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from memoflow import state
from memoflow.errors import IntegrityError
from memoflow.fields import Fields, loaded
from memoflow.objects import Content, Manifest
from memoflow.pickling import UnreadBuffer
from memoflow.state import StateSnapshot, StoredLeaf
from memoflow.state.safetensors import LENGTH_BYTES, header_bytes
from memoflow.state.safetensors import stored_leaves as parsed_leaves
from memoflow.store import Store

FORMAT = "state"  # of checkpoints that hold one
_TENSORS, _STRUCTURE, _INDEX = "state.safetensors", "state.pickle", "state.json"


def files_of(snapshot: StateSnapshot) -> dict[str, Content]:
    """Return the files of a state; they share the memory of the snapshot."""
    head, *_ = state.safetensors_parts(snapshot)
    buffers = [
        leaf.buffer.toreadonly() if leaf.is_private else leaf.buffer for leaf in snapshot.leaves
    ]
    lengths = [buffer.nbytes for buffer in buffers]
    offsets = accumulate(lengths, initial=len(head))
    index = {"index": snapshot.index, "buffers": list(zip(offsets, lengths, strict=False))}
    return {
        _TENSORS: [head, *buffers],
        _STRUCTURE: snapshot.structure,
        _INDEX: json.dumps(index, separators=(",", ":")).encode(),
    }


def load(
    store: Store,
    manifest: Manifest,
    *,
    folder: str = "",
    only: str | Sequence[str] | None = None,
    map_location: Any = None,
) -> Any:
    """Return the state of a manifest, or only some paths of it; see `state.load`.

    `folder` has its files, and ends with a slash. NotFoundError or IntegrityError if some of it
    is gone or damaged.
    """
    index, ranges = _parsed(store.read_file(manifest, folder + _INDEX))
    structure = store.read_file(manifest, folder + _STRUCTURE)

    def read(numbers: list[int]) -> list[memoryview]:
        return store.read_ranges(manifest, folder + _TENSORS, [ranges[each] for each in numbers])

    return state.load(structure, index, read, only=only, map_location=map_location)


def stored_leaves(store: Store, manifest: Manifest, *, folder: str = "") -> list[StoredLeaf]:
    """Return the leaves in `state.safetensors`, of which only the header is read.

    NotFoundError or IntegrityError if that is gone or damaged.
    """
    path = folder + _TENSORS
    try:
        (head,) = store.read_ranges(manifest, path, [(0, LENGTH_BYTES)])
        (header,) = store.read_ranges(manifest, path, [(LENGTH_BYTES, header_bytes(head))])
        return parsed_leaves(header)
    except ValueError as error:
        raise IntegrityError(f"the header of {path} is damaged: {error}") from None


def outline(store: Store, manifest: Manifest, *, folder: str = "") -> Any:
    """Return the state of a manifest, of which no tensor, array or bytes have their content."""
    _, ranges = _parsed(store.read_file(manifest, folder + _INDEX))

    def unread(numbers: list[int]) -> list[UnreadBuffer]:
        return [UnreadBuffer(ranges[each][1]) for each in numbers]

    structure = store.read_file(manifest, folder + _STRUCTURE)
    return state.load(structure, {}, unread, map_location="cpu")


def _parsed(data: bytes) -> tuple[Mapping[str, Sequence[int]], list[tuple[int, int]]]:
    try:
        fields = Fields(loaded(data))
        ranges = [(int(offset), int(length)) for offset, length in fields.rows("buffers")]
        index = fields.mapping("index")
        numbers = range(len(ranges))
        if any(number not in numbers for each in index.values() for number in each):
            raise ValueError("a path has a buffer that is not there")
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"the description of the state is damaged: {error}") from None
    return index, ranges
