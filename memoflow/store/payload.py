"""Payload: the input of a save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from memoflow.backends import BlobLocation
from memoflow.dataclass import dataclass
from memoflow.names import Digest
from memoflow.objects import File


@dataclass(frozen=True)
class Adoption:
    """A file of Metaflow's that becomes a blob as it is.

    `digest` is the SHA-1 by which Metaflow knows what is packed in `source`, a file of this
    machine or in a backend, that nobody writes to again.
    """

    digest: Digest
    source: Path | BlobLocation


@dataclass(frozen=True)
class Payload:
    """A file or directory, files by relative path, and adopted blobs by name; any may be empty.

    A `tree` that is a file is saved under its own name. `whole` keeps each file of a megabyte
    or more as one blob, named by its SHA-256; with `linked` that is a hard link to the file where
    it can be, for smaller ones as well, which is made read-only for that and to which nobody may
    write. `ignore` are shell patterns of what is left out of the tree. `kept` are files as another
    manifest in the same store has them, and cost nothing.
    """

    tree: Path | None = None
    files: Mapping[str, bytes | Path] = field(default_factory=dict)
    adopted: Mapping[str, Adoption] = field(default_factory=dict)
    whole: bool = False
    linked: bool = False
    ignore: tuple[str, ...] = ()
    kept: tuple[File, ...] = ()
