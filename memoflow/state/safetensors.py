"""Safetensors: the leaves of a snapshot as a file of that format, without a copy.

Eight bytes for the length of the header, little-endian; the header, JSON padded with spaces; the
bytes of the tensors, one after the other: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import struct

from memoflow.state.snapshot import StateSnapshot

_LENGTH = struct.Struct("<Q")
_ALIGNED_BYTES = 64


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
