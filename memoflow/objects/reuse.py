"""Reuse: the pieces of earlier saves that a save refers to instead of storing them again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from memoflow.backends import Backend
from memoflow.backends.failures import translated
from memoflow.names import Digest
from memoflow.objects.blobs import blob_name
from memoflow.objects.manifest import Located, Manifest, Piece

# Return where pieces may lie, by their XXH3-128.
Known = Callable[[Sequence[str]], Mapping[str, Located]]


class ReusablePieces:
    """The pieces of the save before, and of any other that `known` finds.

    A piece that `previous` has by its XXH3-128 is taken for the same; one that `known` finds
    anywhere else only if its bytes are equal, since that hash does not withstand forgery. The
    blobs of `previous` are looked at, unless it is `proven` that they are there. `sizes` says how
    long blobs are, as far as is known, and learns of more.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        previous: Manifest | None = None,
        proven: bool = False,
        known: Known = lambda xxh3s: {},
        sizes: dict[Digest, int] | None = None,
    ) -> None:
        self.known = known
        self.sizes = {} if sizes is None else sizes
        self._backend = backend
        files = () if previous is None else previous.files
        pieces = [piece for file in files for piece in file.pieces]
        if pieces and not proven:
            self._ask({piece.blob for piece in pieces})
            # As long as it is, not as it should be: a blob that was cut off lacks the last pieces.
            pieces = [
                each for each in pieces if each.offset + each.length <= self.sizes.get(each.blob, 0)
            ]
        self.unchanged = {(piece.xxh3, piece.length): piece for piece in pieces}

    def find(
        self, key: tuple[str, int], known: Mapping[str, Located], view: memoryview
    ) -> Piece | None:
        """Return a stored piece among the candidates in `known` with exactly these bytes."""
        located = known.get(key[0])
        if located is None or located[2] != key[1]:
            return None
        piece = Piece(*located, key[0])
        return piece if _same_bytes(self._backend, piece, view) else None

    def thin(self, pieces: Iterable[Piece], least_use: float) -> set[Digest]:
        """Return the blobs of which these pieces are less than the share `least_use`.

        Referring to such a blob would keep much that nothing else may need. One whose size is not
        known is none of them.
        """
        spans: dict[Digest, set[tuple[int, int]]] = defaultdict(set)
        for piece in pieces:
            spans[piece.blob].add((piece.offset, piece.length))
        if not self._backend.takes_round_trips:
            self._ask(spans.keys() - self.sizes.keys())
        return {
            blob
            for blob, used in spans.items()
            if sum(length for _, length in used) < least_use * self.sizes.get(blob, 0)
        }

    def _ask(self, blobs: Iterable[Digest]) -> None:
        names = {blob: blob_name(blob) for blob in sorted(blobs)}
        sizes = self._backend.sizes(list(names.values()))
        self.sizes.update((blob, size or 0) for blob, size in zip(names, sizes, strict=True))


def _same_bytes(backend: Backend, piece: Piece, view: memoryview) -> bool:
    name = blob_name(piece.blob)
    file = backend.open(name)
    if file is None:
        return False
    with file, translated("read", name):
        file.seek(piece.offset)
        # Not the other way round: a memoryview compares byte by byte.
        return bytearray(file.read(piece.length)) == view
