"""Packed: the result of packing a save into blobs."""

from __future__ import annotations

from memoflow.dataclass import dataclass
from memoflow.names import Digest
from memoflow.objects.manifest import File

Located = tuple[Digest, int, int]  # blob, offset, length


@dataclass(frozen=True)
class Packed:
    """The files of a save as lists of pieces, and the number of new bytes.

    `new` tells where pieces that were stored can be found from now on, by their XXH3-128, `whole`
    which files became blobs by themselves, and `sizes` how long packs are at least, as far as that
    is known.
    """

    files: tuple[File, ...]
    folders: tuple[str, ...]
    new: dict[str, Located]
    whole: tuple[Digest, ...]
    new_bytes: int
    sizes: dict[Digest, int]
    modes: dict[str, int]


NOTHING = Packed((), (), {}, (), 0, {}, {})
