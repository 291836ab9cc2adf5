"""Packing: files into blobs, taking what is there already and packing the rest together."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from memoflow.backends import Backend
from memoflow.errors import RequestError
from memoflow.names import Digest
from memoflow.objects.blobs import blob_name, xxh3_of
from memoflow.objects.cutting import cut
from memoflow.objects.manifest import INLINE_BYTES, File, Manifest, Piece
from memoflow.objects.tree import Source, Tree

Located = tuple[Digest, int, int]  # blob, offset, length
Known = Callable[[Sequence[Digest]], Mapping[Digest, Located]]

# One pack is filled while another is written and four pieces are hashed: 56 MiB in all.
_PACK_BYTES = 20 << 20
_WRITTEN_AT_ONCE = 1
_IN_FLIGHT = 4
_WHOLE_BYTES = 1 << 20
# A smaller piece is hashed sooner than a thread wakes up.
_THREAD_BYTES = 128 << 10


@dataclass(frozen=True)
class Packed:
    """What a save put into blobs, and where pieces that were new can be found from now on."""

    files: tuple[File, ...]
    folders: tuple[str, ...]
    new: dict[Digest, Located]


def pack(
    backend: Backend,
    tree: Tree,
    *,
    whole: bool = False,
    known: Known = lambda digests: {},
    previous: Manifest | None = None,
    durable: bool = True,
) -> Packed:
    """Write the tree's bytes as blobs; RequestError if it changes meanwhile.

    `whole` keeps each file of a megabyte or more as a blob of its own. `known` tells where
    pieces lie by their SHA-256, `previous` saves hashing what has not changed since.
    """
    threads = _IN_FLIGHT + _WRITTEN_AT_ONCE
    with ThreadPoolExecutor(threads, thread_name_prefix="memoflow-pack") as pool:
        packer = _Packer(backend, pool, known, previous, durable=durable)
        drafts = []
        for source in tree.sources:
            if source.size_bytes < INLINE_BYTES:
                drafts.append(_Draft(source, inline=_read_small(source)))
            elif whole and source.size_bytes >= _WHOLE_BYTES:
                drafts.append(_Draft(source, packer.keep_whole(source)))
            else:
                drafts.append(_Draft(source, packer.add(source)))
        packer.finish()
    tree.check()
    files = [draft.finished() for draft in drafts]
    files += [File(path, 0, target=target) for path, target in tree.links.items()]
    return Packed(
        tuple(sorted(files, key=lambda file: file.path)), tuple(tree.folders), packer.new()
    )


@dataclass(eq=False)
class _Pack:
    """Pieces on their way into one blob, whose digest is known once it is written."""

    pieces: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    digest: Digest | None = None


@dataclass
class _Spot:
    """Where a piece lies, or will lie when its pack is written."""

    pack: _Pack
    offset: int
    length: int

    def located(self) -> Located:
        assert self.pack.digest is not None
        return self.pack.digest, self.offset, self.length


@dataclass
class _Draft:
    source: Source
    pieces: list[tuple[_Spot, str]] = field(default_factory=list)
    inline: bytes | None = None

    def finished(self) -> File:
        pieces = tuple(Piece(*spot.located(), xxh3) for spot, xxh3 in self.pieces)
        source = self.source
        return File(source.path, source.size_bytes, source.executable, pieces, self.inline)


class _Packer:
    def __init__(
        self,
        backend: Backend,
        pool: ThreadPoolExecutor,
        known: Known,
        previous: Manifest | None,
        *,
        durable: bool,
    ) -> None:
        self._backend = backend
        self._pool = pool
        self._known = known
        self._durable = durable
        self._present: dict[Digest, bool] = {}
        self._mine: dict[Digest, _Spot] = {}
        self._filling = _Pack()
        self._writing: deque[Future[None]] = deque()
        self._unchanged: dict[tuple[str, int], Located] = {
            (piece.xxh3, piece.length): (piece.blob, piece.offset, piece.length)
            for file in (previous.files if previous else ())
            for piece in file.pieces
        }

    def add(self, source: Source) -> list[tuple[_Spot, str]]:
        """Take in a file piece by piece; return where each lies and its XXH3-128."""
        pieces: list[tuple[_Spot, str]] = []
        hashing: deque[tuple[bytes, Future[tuple[str, Digest | None]]]] = deque()

        def take() -> None:
            data, future = hashing.popleft()
            xxh3, digest = future.result()
            pieces.append((self._place(data, xxh3, digest), xxh3))

        for data in _pieces(source):
            if len(data) < _THREAD_BYTES:
                future: Future[tuple[str, Digest | None]] = Future()
                future.set_result(self._hash(data))
            else:
                future = self._pool.submit(self._hash, data)
            hashing.append((data, future))
            if len(hashing) >= _IN_FLIGHT:
                take()
        while hashing:
            take()
        return pieces

    def keep_whole(self, source: Source) -> list[tuple[_Spot, str]]:
        """Take in a file as one blob, which has the file's own SHA-256."""
        sha256, found = hashlib.sha256(), []
        for data in _pieces(source):
            sha256.update(data)
            found.append((len(data), xxh3_of(data)))
        digest = Digest(f"sha256:{sha256.hexdigest()}")
        if not self._is_present(digest):

            def proven() -> Iterator[bytes]:
                for (_, xxh3), data in zip(found, _pieces(source), strict=True):
                    if xxh3_of(data) != xxh3:
                        raise _changed(source)
                    yield data

            self._backend.write_from(blob_name(digest), proven(), durable=self._durable)
            self._present[digest] = True
        blob, offset, pieces = _Pack(digest=digest), 0, []
        for length, xxh3 in found:
            pieces.append((_Spot(blob, offset, length), xxh3))
            offset += length
        return pieces

    def finish(self) -> None:
        """Write what has gathered, and wait for it."""
        self._seal()
        while self._writing:
            self._writing.popleft().result()

    def new(self) -> dict[Digest, Located]:
        return {digest: spot.located() for digest, spot in self._mine.items()}

    def _hash(self, data: bytes) -> tuple[str, Digest | None]:
        """Return XXH3-128 and SHA-256; None for that if the piece has not changed."""
        xxh3 = xxh3_of(data)
        return xxh3, None if (xxh3, len(data)) in self._unchanged else Digest.of(data)

    def _place(self, data: bytes, xxh3: str, digest: Digest | None) -> _Spot:
        if digest is None:
            located = self._unchanged[xxh3, len(data)]
            if self._is_present(located[0]):
                return _spot(located)
            digest = Digest.of(data)
        if digest in self._mine:
            return self._mine[digest]
        there = self._known([digest]).get(digest)
        if there is not None and there[2] == len(data) and self._is_present(there[0]):
            return _spot(there)
        if self._filling.size_bytes + len(data) > _PACK_BYTES:
            self._seal()
        filling = self._filling
        spot = self._mine[digest] = _Spot(filling, filling.size_bytes, len(data))
        filling.pieces.append(data)
        filling.size_bytes += len(data)
        return spot

    def _is_present(self, blob: Digest) -> bool:
        if blob not in self._present:
            self._present[blob] = self._backend.exists([blob_name(blob)])[0]
        return self._present[blob]

    def _seal(self) -> None:
        pack, self._filling = self._filling, _Pack()
        if not pack.pieces:
            return
        while len(self._writing) >= _WRITTEN_AT_ONCE:
            self._writing.popleft().result()
        self._writing.append(self._pool.submit(self._write, pack))

    def _write(self, pack: _Pack) -> None:
        sha256 = hashlib.sha256()
        for data in pack.pieces:
            sha256.update(data)
        pack.digest = Digest(f"sha256:{sha256.hexdigest()}")
        # Over one of that name, if there is one: the same bytes if it is whole, healed if not.
        self._backend.write_from(blob_name(pack.digest), pack.pieces, durable=self._durable)
        pack.pieces = []


def _spot(located: Located) -> _Spot:
    blob, offset, length = located
    return _Spot(_Pack(digest=blob), offset, length)


def _pieces(source: Source) -> Iterator[bytes]:
    """Yield a source piece by piece; RequestError unless it has just the size that was found."""
    if isinstance(source.content, bytes):
        offset = 0
        for length in cut(source.size_bytes):
            yield source.content[offset : offset + length]
            offset += length
        return
    with _opened(source.content) as file:
        try:
            for length in cut(source.size_bytes):
                data = file.read(length)
                if len(data) != length:
                    raise _changed(source)
                yield data
            if file.read(1):
                raise _changed(source)
        except OSError as error:
            raise RequestError(f"cannot save {source.content}: {error.strerror}") from error


def _read_small(source: Source) -> bytes:
    return b"".join(_pieces(source))


def _opened(path: Path) -> BinaryIO:
    # Not blocking, should a fifo have taken the file's place.
    try:
        return open(
            path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        )
    except OSError as error:
        raise RequestError(f"cannot save {path}: {error.strerror}") from error


def _changed(source: Source) -> RequestError:
    return RequestError(
        f"{source.path} changed while it was being saved; save when nothing writes to it"
    )
