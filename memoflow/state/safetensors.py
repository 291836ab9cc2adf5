"""Safetensors: the leaves of a snapshot as a file of that format, without a copy.

Eight bytes for the length of the header, little-endian; the header, JSON padded with spaces; the
bytes of the tensors, one after the other: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import struct

from memoflow.dataclass import dataclass
from memoflow.fields import Fields, loaded
from memoflow.state.snapshot import StateSnapshot

_LENGTH = struct.Struct("<Q")
LENGTH_BYTES = _LENGTH.size
_METADATA = "__metadata__"  # that others may write
_ALIGNED_BYTES = 64


@dataclass(frozen=True)
class StoredLeaf:
    """A tensor, array or bytes in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int


def header_bytes(head: bytes | memoryview) -> int:
    """Return the length of the header that follows the first `LENGTH_BYTES` of a file."""
    return int.from_bytes(head, "little")


def stored_leaves(header: bytes | memoryview) -> list[StoredLeaf]:
    """Return the leaves of a file by its header, in their order; ValueError if it is damaged."""
    values = loaded(bytes(header))
    if not isinstance(values, dict):
        raise ValueError("its header is no mapping")
    return [_stored(name, Fields(value)) for name, value in values.items() if name != _METADATA]


def _stored(name: str, fields: Fields) -> StoredLeaf:
    begin, end, *shape = [*fields.rows("data_offsets"), *fields.rows("shape")]
    if any(type(each) is not int or each < 0 for each in (begin, end, *shape)) or end < begin:
        raise ValueError(f"{name!r:.60} has no shape or place that can be")
    return StoredLeaf(name, fields.text("dtype"), tuple(shape), end - begin)


def safetensors_parts(snapshot: StateSnapshot) -> list[bytes | memoryview]:
    """Return the parts of a file: its head, and the buffers of the leaves in their order.

    The data begins at a multiple of 64 bytes.
    """
    header: dict[str, object] = {}
    at = 0
    for leaf in snapshot.leaves:
        end = at + leaf.buffer.nbytes
        header[leaf.name] = {
            "dtype": leaf.dtype,
            "shape": leaf.shape,
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    padding = b" " * (-(_LENGTH.size + len(text)) % _ALIGNED_BYTES)
    head = _LENGTH.pack(len(text) + len(padding)) + text + padding
    return [head, *(leaf.buffer for leaf in snapshot.leaves)]
