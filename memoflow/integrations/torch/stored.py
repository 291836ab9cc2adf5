"""Stored items: the bytes of tensors and other values in the files of ranks."""

from __future__ import annotations

from typing import Any, NamedTuple

METADATA = "metadata.pickle"


class StoredItem(NamedTuple):
    """The bytes of an item in a file; of a tensor with its dtype and sizes, else None.

    Stored as a plain tuple in the metadata.
    """

    file: str
    offset: int
    length: int
    dtype: Any
    sizes: Any
