"""Packing: files into blobs; known pieces are referred to, new ones packed together.

A few threads, each with a pack of its own, read pieces to the end of their pack, hash them, keep
those that are new, and hand the pack on when it is full. So each byte is read once, hashed once
for its name, and not copied. Others name full packs by their SHA-256 and wait for the disk, which
then has much to do at once.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import accumulate, groupby, pairwise
from queue import SimpleQueue
from typing import TypeVar

from memoflow.backends import Backend
from memoflow.memory import private_memory
from memoflow.names import Digest
from memoflow.objects.blobs import blob_name, xxh3_of
from memoflow.objects.cutting import LONGEST_TEXT_BYTES, Region, cut_text, piece_bytes
from memoflow.objects.growing import ChangedError, settle
from memoflow.objects.linking import device_of_blobs, take
from memoflow.objects.manifest import File, Packed, Piece
from memoflow.objects.planning import (
    Draft,
    Pack,
    ReusablePieces,
    Span,
    Spot,
    is_whole_file,
    jobs,
    planned,
)
from memoflow.objects.reading import Reader
from memoflow.objects.tree import Source, Tree
from memoflow.threads import Pool

T = TypeVar("T")
_Rest = tuple[Pack, memoryview]  # a pack that was not filled, and its bytes

_PACK_BYTES = 16 << 20
_SMALL_PACK_BYTES = 8 << 20  # so that the disk has something to do sooner
_SMALL_SAVE_BYTES = 512 << 20
_MEMORY_BYTES = 48 << 20  # of packs that are filled, and that the backend has not taken yet
_THREADS = 2
_WRITERS = 4
_STEP_BYTES = 1 << 20  # what is read is hashed while it is still in the processor's cache
_ALONE_BYTES = 2 << 20  # less is done sooner than a thread is started
_WHOLE_PIECE_BYTES = 4 << 20
_SALT_BYTES = 16


def pack(
    backend: Backend,
    tree: Tree,
    *,
    whole: bool = False,
    linked: bool = False,
    earlier: ReusablePieces | None = None,
    least_use: float = 0.0,
    fresh: bool = False,
    beat: Callable[[], None] = lambda: None,
    durable: bool = True,
) -> Packed:
    """Write the tree's bytes as blobs; for files that change meanwhile see `growing`.

    `whole` keeps each file of a megabyte or more as a blob of its own, with `linked` by a hard link
    where that can be, and then smaller ones as well, unless they are inline. Pieces that an
    `earlier` save has stored are not stored again, unless they are less than the share `least_use`
    of their pack: then they are, so that the rest of it can go. With `fresh` no pack gets a name
    that one had before. `beat` is called from any thread each time that some megabytes are done.
    """
    packer = _Packer(
        backend,
        earlier or ReusablePieces(backend),
        linked=linked,
        salt=os.urandom(_SALT_BYTES) if fresh else b"",
        beat=beat,
        durable=durable,
    )
    device = device_of_blobs(backend) if linked else None
    drafts: dict[str, Draft] = {}

    def store(sources: Sequence[Source]) -> None:
        new = [Draft(each, whole=whole and is_whole_file(each, device)) for each in sources]
        packer.run(new)
        for draft in new:
            if any(piece.blob in packer.lost for piece in draft.whole):
                draft.source.gone.append(True)
            drafts[draft.source.path] = draft

    def is_same(source: Source) -> bool:
        return (source.is_memory or not linked) and drafts[source.path].is_same(packer.beat)

    tree = settle(tree, store, is_same)
    packer.store_anew([drafts[source.path] for source in tree.sources], least_use)
    files = [drafts[source.path].finished() for source in tree.sources]
    files += [File(path, 0, target=target) for path, target in tree.links.items()]
    return Packed(
        tuple(sorted(files, key=lambda file: file.path)),
        tuple(tree.folders),
        {spot.xxh3: spot.piece()[:3] for spot in packer.mine.values()},
        tuple(packer.whole),
        packer.whole_bytes
        + sum(spot.length for spot in packer.mine.values() if spot.is_new)
        + sum(file.size_bytes for file in files if file.inline is not None),
        packer.sizes(),
        tree.modes,
    )


class _StoppedError(Exception):
    """Another thread failed, so this one stops."""


class _Packer:
    def __init__(
        self,
        backend: Backend,
        earlier: ReusablePieces,
        *,
        linked: bool,
        salt: bytes,
        beat: Callable[[], None],
        durable: bool,
    ) -> None:
        self.backend = backend
        self.earlier = earlier
        self.mine: dict[tuple[str, int], Spot] = {}
        self.whole: list[Digest] = []
        self.whole_bytes = 0
        self.piece_bytes = 0
        self._linked = linked
        # Behind what packs hold, where no piece lies, for the sake of another digest.
        self._salt = salt
        self._beat = beat
        self._is_stopped = False
        self._durable = durable
        self._jobs: deque[Callable[[_Worker], None]] = deque()
        self._writing: list[Future[None]] = []
        self._written: set[Digest] = set()
        self.lost: set[Digest] = set()  # whole files that changed before they were written
        self._lock = threading.Lock()

    def run(self, drafts: list[Draft]) -> None:
        """Place all pieces."""
        total = sum(draft.source.size_bytes for draft in drafts)
        self.piece_bytes = piece_bytes(total)
        spans = planned(drafts, self.piece_bytes)
        for draft in drafts:
            if draft.is_whole:
                self._jobs.append(partial(self._keep_whole, draft))
        self._jobs.extend(partial(_Worker.pack, spans=job) for job in jobs(spans))
        # The writers have as much to do as who fills their packs: a core for each, or they wait.
        threads = 1 if total < _ALONE_BYTES else min(_THREADS, (os.cpu_count() or 1) // 2)
        count = max(1, min(threads, len(self._jobs)))
        self.memory = _Memory(total)
        workers = [_Worker(self) for _ in range(count)]
        with Pool(_WRITERS) as self._writers:
            self._in_threads(self._work, workers)
            self._in_threads(self._write_joined, _joined([worker.rest() for worker in workers]))
        for written in self._writing:
            written.result()

    def store_anew(self, drafts: list[Draft], least_use: float) -> None:
        """Store the pieces once more of which a pack of an earlier save holds little else.

        They are put together in packs of their own: what has outlived its pack once will do so
        again, and what is packed with it as well.
        """
        spans = [span for draft in drafts for span in draft.spans]
        reused = [each for span in spans for each in span.placed if isinstance(each, Piece)]
        thin = self.earlier.thin(reused, least_use)
        if not thin:
            return
        self.memory = _Memory(sum(each.length for each in reused))
        worker = _Worker(self)
        with Pool(_WRITERS) as self._writers:
            self._writing = []
            for span in spans:
                worker.store_anew(span, thin)
        for written in self._writing:
            written.result()
        for rests in _joined([worker.rest()]):
            self._write_joined(rests)

    def sizes(self) -> dict[Digest, int]:
        """Return the sizes of the blobs that are known: packs of this save and of earlier ones."""
        sizes = dict(self.earlier.sizes)
        for spot in self.mine.values():
            piece = spot.piece()
            end = piece.offset + piece.length
            sizes[piece.blob] = max(sizes.get(piece.blob, 0), end)
        return sizes

    def beat(self) -> None:
        """Tell that work gets on; raise an error if it need not."""
        if self._is_stopped:
            raise _StoppedError
        self._beat()

    def _in_threads(self, act: Callable[[T], None], each: Sequence[T]) -> None:
        if len(each) < 2:
            for one in each:
                act(one)
            return
        with Pool(len(each)) as pool:
            try:
                for _ in pool.map(act, each):
                    pass
            except BaseException:
                # Perhaps by a signal, of which only this thread knows; the others are waited for.
                self._is_stopped = True
                raise

    def _work(self, worker: _Worker) -> None:
        try:
            while self._jobs:
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    break  # Another thread was faster.
                job(worker)
        except BaseException:
            self._jobs.clear()  # What the others would still do is in vain.
            raise

    def _write_joined(self, rests: Sequence[_Rest]) -> None:
        views = [*(view for _, view in rests), memoryview(self._salt)]
        digest, begins_at = _digest_of(views), 0
        for pack, view in rests:
            pack.digest, pack.begins_at = digest, begins_at
            begins_at += len(view)
        self._write(digest, views)

    def hand_on(self, pack: Pack, memory: memoryview, size_bytes: int) -> None:
        """Have a full pack written, whose memory is then free again."""
        for written in self._writing:
            if written.done():
                written.result()
        self._writing.append(self._writers.submit(self._write_full, pack, memory, size_bytes))

    def _write_full(self, pack: Pack, memory: memoryview, size_bytes: int) -> None:
        view = memory[:size_bytes]
        held = [memory]

        def free() -> None:
            if held:
                self.memory.give_back(held.pop())

        def chunks() -> Iterator[memoryview]:
            yield view
            free()  # The backend asks for more, so it has what there was.
            yield memoryview(self._salt)

        try:
            pack.digest = _digest_of([view, memoryview(self._salt)])
            self._write(pack.digest, chunks())
        finally:
            free()

    def _write(self, digest: Digest, chunks: Iterable[memoryview]) -> None:
        # Over one of that name, if there is one: the same bytes if it is whole, healed if not.
        self.backend.write(blob_name(digest), chunks, durable=self._durable)

    def _beating(self, chunks: Iterable[memoryview]) -> Iterator[memoryview]:
        for chunk in chunks:
            self.beat()
            yield chunk

    def _keep_whole(self, draft: Draft, _: _Worker) -> None:
        """Take in a file as one blob, which has the file's own SHA-256."""
        sha256, found = hashlib.sha256(), []
        source = draft.source
        with Reader(source) as reader:
            for data in reader.chunks(_WHOLE_PIECE_BYTES):
                self.beat()
                sha256.update(data)
                found.append((len(data), xxh3_of(data)))
        if source.gone:
            return
        blob = Digest(f"sha256:{sha256.hexdigest()}")
        with self._lock:
            is_first = blob not in self._written
            self._written.add(blob)
        there = self.backend.sizes([blob_name(blob)])[0]
        if is_first and there != source.size_bytes:
            link = self._linked and there is None
            if not (link and take(self.backend, blob, source, durable=self._durable)):
                with Reader(source) as reader:
                    proven = reader.proven_chunks(_WHOLE_PIECE_BYTES, [xxh3 for _, xxh3 in found])
                    try:
                        self._write(blob, self._beating(proven))
                    except ChangedError:
                        with self._lock:
                            self._written.discard(blob)
                            self.lost.add(blob)
                        source.gone.append(True)
                        return
            with self._lock:
                self.lost.discard(blob)
                self.whole.append(blob)
                self.whole_bytes += source.size_bytes
        offset = 0
        for length, xxh3 in found:
            draft.whole.append(Piece(blob, offset, length, xxh3))
            offset += length


class _Memory:
    """Room for a few packs."""

    def __init__(self, total_bytes: int) -> None:
        self._pack_bytes = _PACK_BYTES if total_bytes > _SMALL_SAVE_BYTES else _SMALL_PACK_BYTES
        self._has_large_pages = total_bytes >= _ALONE_BYTES
        self._lock = threading.Lock()
        self._left = _MEMORY_BYTES // self._pack_bytes
        self._free: SimpleQueue[memoryview] = SimpleQueue()

    def take(self) -> memoryview:
        """Return room for one pack, as soon as there is some."""
        with self._lock:
            is_new = self._left > 0
            self._left -= is_new
        if not is_new:
            return self._free.get()
        return memoryview(private_memory(self._pack_bytes, in_large_pages=self._has_large_pages))

    def give_back(self, memory: memoryview) -> None:
        self._free.put(memory)


class _Worker:
    """One thread's pack: complete pieces up to `tail`, then unplaced bytes."""

    def __init__(self, packer: _Packer) -> None:
        self._packer = packer
        self._view = packer.memory.take()
        self._pack = Pack()
        self._tail = 0
        # Of the pieces behind the tail, which are not placed yet.
        self._spans: list[Span] = []
        self._lengths: list[int] = []
        self._filled = 0
        self._sliced: tuple[int, list[int], list[memoryview]] = (0, [], [])

    def flush(self) -> None:
        """Have the pack written and begin another."""
        self._packer.hand_on(self._pack, self._view, self._tail)
        self._view, self._pack, self._tail = self._packer.memory.take(), Pack(), 0

    def rest(self) -> _Rest:
        """Return the unwritten pieces at the end."""
        return self._pack, self._view[: self._tail]

    def pack(self, spans: Sequence[Span]) -> None:
        """Write the tree's bytes as blobs; for files that change meanwhile see `growing`."""
        for _, group in groupby(spans, key=lambda span: id(span.source)):
            of_one = list(group)
            with Reader(of_one[0].source) as reader:
                for span in of_one:
                    self._take(span, reader)
        self._place()

    def _take(self, span: Span, reader: Reader) -> None:
        """Read a span, a step at a time."""
        at, end = span.region.start, span.region.end
        # Of text it takes more than the longest piece to tell where that ends.
        longest = LONGEST_TEXT_BYTES + 1 if span.region.text else self._packer.piece_bytes
        while at < end:
            ahead = min(end - at, self._room(min(end - at, longest)))
            view = self._view[self._tail + self._filled :][:ahead]
            reader.read_into(view, at)
            lengths = self._cut(span.region, view, is_end=at + ahead == end)
            self._spans += [span] * len(lengths)
            self._lengths += lengths
            self._filled += sum(lengths)
            at += sum(lengths)

    def _room(self, needed: int) -> int:
        """Return the number of bytes to read next, after writing a full pack."""
        if self._filled + needed > min(_STEP_BYTES, len(self._view) - self._tail):
            self._place()
        if needed > len(self._view) - self._tail:
            self.flush()
        return min(max(_STEP_BYTES, needed), len(self._view) - self._tail) - self._filled

    def _cut(self, region: Region, view: memoryview, *, is_end: bool) -> list[int]:
        if region.text:
            return cut_text(view, is_end=is_end)
        length = self._packer.piece_bytes
        count, rest = divmod(len(view), length)
        return [length] * count + ([rest] if rest and is_end else [])

    def _place(self) -> None:
        """Decide for each piece that was read where it lies, and keep it if it is new."""
        self._packer.beat()
        keys = list(zip(map(xxh3_of, self._slices(self._lengths)), self._lengths, strict=True))
        earlier = self._packer.earlier
        unchanged = list(map(earlier.unchanged.get, keys))
        unknown = [key[0] for key, piece in zip(keys, unchanged, strict=True) if piece is None]
        known = earlier.known(unknown) if unknown else {}
        at = self._tail
        for span, key, piece in zip(self._spans, keys, unchanged, strict=True):
            if piece is None and key not in self._packer.mine:
                piece = earlier.find(key, known, self._view[at : at + key[1]])
            span.placed.append(piece or self._keep(key, at))
            at += key[1]
        self._spans, self._lengths, self._filled = [], [], 0

    def _slices(self, lengths: list[int]) -> list[memoryview]:
        # Nearly always those of the last time, while nothing is new.
        if self._sliced[:2] != (self._tail, lengths):
            ends = list(accumulate(lengths, initial=self._tail))
            slices = [self._view[start:end] for start, end in pairwise(ends)]
            self._sliced = (self._tail, lengths, slices)
        return self._sliced[2]

    def store_anew(self, span: Span, thin: set[Digest]) -> None:
        """Keep the pieces of a span in this pack that lie in one of these blobs."""
        lengths = [each.length for each in span.placed]
        places = accumulate(lengths, initial=span.region.start)
        wanted = [
            (number, piece, at)
            for number, (piece, at) in enumerate(zip(span.placed, places, strict=False))
            if isinstance(piece, Piece) and piece.blob in thin and piece.length <= len(self._view)
        ]
        if not wanted:
            return
        with Reader(span.source) as reader:
            for number, piece, at in wanted:
                if piece.length > len(self._view) - self._tail:
                    self.flush()
                self._packer.beat()
                view = self._view[self._tail :][: piece.length]
                reader.read_into(view, at)
                if xxh3_of(view) != piece.xxh3:
                    continue  # It has changed since: the piece stays where it is.
                key = (piece.xxh3, piece.length)
                span.placed[number] = self._keep(key, self._tail, is_new=False)

    def _keep(self, key: tuple[str, int], at: int, *, is_new: bool = True) -> Spot:
        xxh3, length = key
        mine = Spot(self._pack, self._tail, length, xxh3, is_new)
        # In one step, since another thread may have found the same.
        spot = self._packer.mine.setdefault(key, mine)
        if spot is mine:
            if at != self._tail:
                self._view[self._tail : self._tail + length] = self._view[at : at + length]
            self._tail += length
        return spot


def _joined(rests: Iterable[_Rest]) -> list[list[_Rest]]:
    """Merge packs that fit in one blob."""
    joined: list[list[_Rest]] = []
    for rest in rests:
        if not rest[1]:
            continue
        for others in joined:
            if sum(len(view) for _, view in [*others, rest]) <= _PACK_BYTES:
                others.append(rest)
                break
        else:
            joined.append([rest])
    return joined


def _digest_of(views: Iterable[memoryview]) -> Digest:
    sha256 = hashlib.sha256()
    for view in views:
        sha256.update(view)
    return Digest(f"sha256:{sha256.hexdigest()}")
