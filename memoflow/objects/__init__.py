"""Objects: blobs by digest, and manifests that list the files made of them.

Not here: `packing` and `planning`, which most workers need not import, since their results have no
files.
"""

from __future__ import annotations

from memoflow.objects.blobs import FOLDER, blob_name, blob_of, is_whole, measure, measured, prove
from memoflow.objects.growing import settle
from memoflow.objects.linking import Proofs, state_of
from memoflow.objects.manifest import (
    LARGEST_BYTES,
    NOTHING,
    Adopted,
    File,
    Manifest,
    Packed,
    Piece,
    parsed,
)
from memoflow.objects.reading import is_copy
from memoflow.objects.tree import Content, Source, State, Tree, kind
from memoflow.objects.unpacking import (
    DamagedBlobError,
    LostBlobError,
    drafted,
    read_file,
    unpack,
)

__all__ = [
    "FOLDER",
    "LARGEST_BYTES",
    "NOTHING",
    "Adopted",
    "Content",
    "DamagedBlobError",
    "File",
    "LostBlobError",
    "Manifest",
    "Packed",
    "Piece",
    "Proofs",
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
    "parsed",
    "prove",
    "read_file",
    "settle",
    "state_of",
    "unpack",
]
