"""Objects: blobs by digest, and manifests that list the files made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memoflow.objects.blobs import FOLDER, blob_name, blob_of, is_whole, measure, measured, prove
from memoflow.objects.growing import settle
from memoflow.objects.linking import Proofs, State, state_of, whole_blob
from memoflow.objects.manifest import LARGEST_BYTES, Adopted, File, Manifest, Piece, parsed
from memoflow.objects.packed import NOTHING, Packed
from memoflow.objects.reading import is_copy
from memoflow.objects.tree import Source, Tree, kind
from memoflow.objects.unpacking import (
    DamagedBlobError,
    LostBlobError,
    drafted,
    read_file,
    unpack,
)

if TYPE_CHECKING:
    from memoflow.objects.packing import pack
    from memoflow.objects.reuse import ReusablePieces

__all__ = [
    "FOLDER",
    "LARGEST_BYTES",
    "NOTHING",
    "Adopted",
    "DamagedBlobError",
    "File",
    "LostBlobError",
    "Manifest",
    "Packed",
    "Piece",
    "Proofs",
    "ReusablePieces",
    "Source",
    "State",
    "Tree",
    "blob_name",
    "blob_of",
    "drafted",
    "is_copy",
    "is_whole",
    "kind",
    "measure",
    "measured",
    "pack",
    "parsed",
    "prove",
    "read_file",
    "settle",
    "state_of",
    "unpack",
    "whole_blob",
]


def __getattr__(name: str) -> Any:
    # When they are asked for: most workers save results that have no files, and cut none.
    if name == "pack":
        from memoflow.objects.packing import pack

        return pack
    if name == "ReusablePieces":
        from memoflow.objects.reuse import ReusablePieces

        return ReusablePieces
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
