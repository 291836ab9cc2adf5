"""Objects: bytes by content, and the manifests that say what they make up."""

from memoflow.objects.blobs import FOLDER, blob_name, blob_of, is_whole, measure, prove
from memoflow.objects.linking import Proofs, State, state_of, whole_blob
from memoflow.objects.manifest import LARGEST_BYTES, Adopted, File, Manifest, Piece, parsed
from memoflow.objects.packing import Packed, pack
from memoflow.objects.tree import Tree, kind
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
    "Adopted",
    "DamagedBlobError",
    "File",
    "LostBlobError",
    "Manifest",
    "Packed",
    "Piece",
    "Proofs",
    "State",
    "Tree",
    "blob_name",
    "blob_of",
    "drafted",
    "is_whole",
    "kind",
    "measure",
    "pack",
    "parsed",
    "prove",
    "read_file",
    "state_of",
    "unpack",
    "whole_blob",
]
