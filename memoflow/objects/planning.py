"""Planning: files of a save to cut, to keep whole or to put inline, and stored pieces to reuse."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field

from memoflow.backends import Backend
from memoflow.backends.failures import translated
from memoflow.dataclass import dataclass
from memoflow.names import Digest
from memoflow.objects.blobs import blob_name
from memoflow.objects.cutting import PIECE_BYTES, Region, regions
from memoflow.objects.manifest import INLINE_BYTES, MOST, File, Located, Manifest, Piece
from memoflow.objects.reading import Reader, has_bytes
from memoflow.objects.tree import Source

_JOB_BYTES = 8 << 20
_TEXT_JOB_BYTES = 64 << 20  # where a job ends, text is cut wherever that is
_WHOLE_BYTES = 1 << 20

# Return where pieces may lie, by their XXH3-128.
Known = Callable[[Sequence[str]], Mapping[str, Located]]


@dataclass(eq=False, slots=True)
class Pack:
    """Pieces on their way into one blob, which gets its digest when written."""

    digest: Digest | None = None
    begins_at: int = 0


@dataclass(eq=False, slots=True)
class Spot:
    """A place for a piece in an unwritten pack, or the place of an equal stored one."""

    pack: Pack
    offset: int
    length: int
    xxh3: str
    is_new: bool = True

    def piece(self) -> Piece:
        assert self.pack.digest is not None
        return Piece(self.pack.digest, self.pack.begins_at + self.offset, self.length, self.xxh3)


@dataclass(eq=False, slots=True)
class Span:
    """A part of a source file, and its pieces."""

    source: Source
    region: Region
    placed: list[Piece | Spot] = field(default_factory=list)


class Draft:
    """A file of the manifest, while its pieces are placed."""

    def __init__(self, source: Source, *, whole: bool) -> None:
        self.source = source
        self.spans: list[Span] = []
        self.whole: list[Piece] = []
        self.inline: bytes | None = None
        self.is_whole = whole
        if source.size_bytes < INLINE_BYTES:
            with Reader(source) as reader:
                self.inline = reader.read(0, source.size_bytes)

    def plan(self, *, by_format: bool) -> list[Span]:
        """Return the spans of a file that is neither small nor kept whole."""
        source = self.source
        if self.is_whole or self.inline is not None:
            return []
        found = [Region(0, source.size_bytes)]
        if by_format and source.size_bytes > PIECE_BYTES:
            with Reader(source) as reader:
                found = regions(reader.peek, source.size_bytes)
        self.spans = [
            Span(source, part)
            for region in found
            for part in region.split(_TEXT_JOB_BYTES if region.text else _JOB_BYTES)
        ]
        return self.spans

    @property
    def placed(self) -> list[Piece | Spot]:
        """The pieces of the file, in order."""
        return [*self.whole, *(each for span in self.spans for each in span.placed)]

    def is_same(self, beat: Callable[[], None]) -> bool:
        """Tell whether the source still begins with the bytes read from it."""
        if self.inline is not None:
            return has_bytes(self.source, self.inline, beat)
        return has_bytes(self.source, [(each.length, each.xxh3) for each in self.placed], beat)

    def finished(self) -> File:
        source = self.source
        pieces = (each if isinstance(each, Piece) else each.piece() for each in self.placed)
        return File(source.path, source.size_bytes, source.executable, tuple(pieces), self.inline)


def is_whole_file(source: Source, device: int | None) -> bool:
    """Return whether a large or linkable file becomes a blob of its own."""
    if source.size_bytes >= _WHOLE_BYTES:
        return True
    # Small files that must be copied cost less in a pack.
    if source.size_bytes < INLINE_BYTES or not isinstance(source.content, str):
        return False
    try:
        return os.stat(source.content).st_dev == device
    except OSError:
        return False  # Packing says what is wrong.


def planned(drafts: Sequence[Draft], length: int) -> list[Span]:
    """Return the drafts of all files, with no more pieces than a manifest can have."""
    spans = [span for draft in drafts for span in draft.plan(by_format=True)]
    if sum(span.region.most_pieces(length) for span in spans) > MOST:
        spans = [span for draft in drafts for span in draft.plan(by_format=False)]
    return spans


def jobs(spans: Sequence[Span]) -> list[list[Span]]:
    """Group spans into jobs that are large enough for a thread."""
    jobs: list[list[Span]] = []
    size_bytes = _JOB_BYTES
    for span in spans:
        if size_bytes >= _JOB_BYTES:
            jobs.append([])
            size_bytes = 0
        jobs[-1].append(span)
        size_bytes += span.region.end - span.region.start
    return jobs


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
