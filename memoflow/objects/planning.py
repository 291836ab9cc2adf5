"""Planning: to cut a file of a save, to keep it whole, or to put it in the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import field

from memoflow.dataclass import dataclass
from memoflow.names import Digest
from memoflow.objects.cutting import PIECE_BYTES, Region, regions
from memoflow.objects.manifest import INLINE_BYTES, MOST, File, Piece
from memoflow.objects.reading import Reader, has_bytes
from memoflow.objects.tree import Source

_JOB_BYTES = 8 << 20
_TEXT_JOB_BYTES = 64 << 20  # where a job ends, text is cut wherever that is
_WHOLE_BYTES = 1 << 20


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


_Placed = list["Piece | Spot"]


@dataclass(eq=False, slots=True)
class Span:
    """A part of a source file, and its pieces."""

    source: Source
    region: Region
    placed: _Placed = field(default_factory=list)


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

    def is_same(self, beat: Callable[[], None]) -> bool:
        """Tell whether the source still begins with the bytes read from it."""
        if self.inline is not None:
            return has_bytes(self.source, self.inline, beat)
        placed: _Placed = [*self.whole, *(each for span in self.spans for each in span.placed)]
        return has_bytes(self.source, [(each.length, each.xxh3) for each in placed], beat)

    def finished(self) -> File:
        pieces = [
            each if isinstance(each, Piece) else each.piece()
            for span in self.spans
            for each in span.placed
        ]
        source = self.source
        return File(
            source.path,
            source.size_bytes,
            source.executable,
            tuple(self.whole or pieces),
            self.inline,
        )


def is_whole_file(source: Source, device: int | None) -> bool:
    """Return whether a large or linkable file becomes a blob of its own."""
    if source.size_bytes >= _WHOLE_BYTES:
        return True
    # Small files that must be copied cost less in a pack.
    if source.size_bytes < INLINE_BYTES or isinstance(source.content, bytes):
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
