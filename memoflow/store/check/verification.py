"""Verification: reading everything again, to find losses and damage before a load does.

A store elsewhere is read where it is, not from this machine's cache: that is checked by itself, and
what either of them has whole mends the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeVar

from memoflow.backends import Backend, Local, Tiered
from memoflow.dataclass import dataclass
from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    FormatError,
    IntegrityError,
    NotFoundError,
)
from memoflow.index import IndexEntry
from memoflow.names import Digest, Key, Ref
from memoflow.objects import (
    LARGEST_BYTES,
    Adopted,
    Manifest,
    blob_name,
    blob_of,
    is_whole,
    measured,
)
from memoflow.progress import Advance, counted, is_watched
from memoflow.store.refs import ref_file
from memoflow.store.refs.ref_file import OtherKeyError, Stored, decode
from memoflow.store.refs.refs import Refs

T = TypeVar("T")

_QUARANTINED = "quarantined"
_FORGOTTEN = "forgotten"
_MOST_UNREACHED = 5  # files of a store elsewhere
_GONE, _DAMAGED = "is gone", "is damaged"


@dataclass(frozen=True)
class Problem:
    """A difference from the saved state: its name, its nature, and the key that it spoils.

    None for the key: a blob that no ref reaches, but that a later save could take up. `done` says
    what a repair has done about it, "" if nothing. What is `harmless` spoils nothing that was
    saved: remains of killed saves, or a memory that is made anew. What is `unread` could not be
    read, and may be whole.
    """

    name: str
    what: str
    key: Key | None
    done: str = ""
    harmless: bool = False
    unread: bool = False


def _unseen(number: int) -> None:
    """Show no advance."""


class Verification:
    """One check of every ref and blob, and this machine's copies and index; see `Store.verify`."""

    def __init__(self, refs: Refs, *, read_data: bool, repair: bool) -> None:
        self._refs = refs
        self._backend: Backend = refs.backend
        self._near: Local | None = None
        if isinstance(refs.backend, Tiered):
            self._backend, self._near = refs.backend.far, refs.backend.near
        self._read_data = read_data
        self._repair = repair
        self._problems: list[Problem] = []
        self._verdicts: dict[Digest, str | None] = {}
        self._found: dict[Digest, str] = {}
        self._done: dict[Digest, str] = {}
        self._unread: set[Digest] = set()  # which may be whole
        self._packed: dict[Digest, dict[Adopted, Key]] = {}
        self._unreached = 0
        self._refs_there: dict[Key, Ref | None] = {}  # None for what is hurt
        self._sizes: dict[str, int] = {}  # of blobs, where the advance is shown
        self._advance_refs: Advance = _unseen
        self._advance_bytes: Advance = _unseen

    def run(self) -> list[Problem]:
        for what in self._refs.index.damage(repair=self._repair):
            name = str(self._refs.index.path)
            self._add(name, f"the index {what}", None, "made anew", harmless=True)
        # Before the refs: what is in the index by now is there, unless it was forgotten since.
        remembered = self._refs.index.entries()
        listed = list(self._all("refs", self._refs.listed()))
        with self._counted(len(listed)):
            for key, _ in listed:
                self._check_ref(key)
                self._advance_refs(1)
            if self._read_data:
                self._check_packing()
                for file in list(self._all("blobs", self._backend.list("blobs"))):
                    blob = blob_of(file.name)
                    if blob is not None and blob not in self._verdicts:
                        self._check_blob(blob, None)
                self._check_copies()
        if not any(each.name == "refs" for each in self._problems):
            self._check_index(remembered)
        return self._problems

    @contextmanager
    def _counted(self, refs: int) -> Iterator[None]:
        """Count the bytes of blobs as they are read, or else the references."""
        if not self._read_data:
            with counted("Checking references", refs) as self._advance_refs:
                yield
            return
        if is_watched():
            with suppress(BackendError):  # Which is met again where it counts.
                listed = self._backend.list("blobs")
                self._sizes = {file.name: file.size_bytes for file in listed}
        total = sum(self._sizes.values())
        with counted("Reading blobs", total, in_bytes=True) as self._advance_bytes:
            yield

    def _all(self, folder: str, listed: Iterable[T]) -> Iterator[T]:
        """Yield the listed items until the listing fails, which is a problem of its own."""
        try:
            yield from listed
        except BackendError as error:
            self._add_unread(folder, error, None)

    def _check_ref(self, key: Key) -> None:
        name = self._refs.names.of(key)
        self._refs_there[key] = None
        try:
            data = self._backend.read(name, most_bytes=ref_file.LARGEST_BYTES)
        except BackendError as error:
            self._add_unread(name, error, key)
            return
        if data is None:
            del self._refs_there[key]
            return  # Forgotten since it was listed.
        try:
            # Whoever signed it: that it is not ours to use does not make it damaged.
            stored = decode(key, data)
            manifest = self._manifest(stored)
            if manifest is not None and manifest.size_bytes != stored.ref.size_bytes:
                raise IntegrityError(f"the manifest of {key} has another size than its ref")
        except IntegrityError as error:
            if self._repair:
                self._refs.quarantine(key, Digest.of(data))
            self._add(name, str(error), key, _QUARANTINED)
            return
        except (FormatError, OtherKeyError) as error:
            self._add(name, str(error), key, harmless=True)
            return
        blobs = {stored.manifest_blob}
        if manifest is not None:
            blobs = {blob for blob in sorted(manifest.blobs) if not self._check_blob(blob, key)}
            for adopted in manifest.adopted:
                self._packed.setdefault(adopted.blob, {})[adopted] = key
        if not blobs:
            self._refs_there[key] = stored.ref
        elif self._repair and not blobs <= self._unread:  # Damaged or gone, not only unreadable.
            self._refs.drop([key])

    def _unreadable(self, error: BackendError) -> str:
        """Return the text about an unreadable file; raise the error if nothing can be read."""
        if self._backend.takes_round_trips and not isinstance(error, BackendDeniedError):
            # Each takes its time to fail, where a server is gone.
            self._unreached += 1
            if self._unreached > _MOST_UNREACHED:
                raise error
        return f"cannot be read ({error})"

    def _add_unread(self, name: str, error: BackendError, key: Key | None) -> None:
        self._problems.append(Problem(name, self._unreadable(error), key, unread=True))

    def _manifest(self, stored: Stored) -> Manifest | None:
        """Return the manifest; None if it is a blob that is lost or damaged."""
        blob = stored.manifest_blob
        if blob is None:
            return Manifest.from_json(stored.manifest)
        # Read even if data is not: without it nothing can be said of the rest.
        data = self._proven(blob)
        if data is None:
            data = self._proven(blob) if self._verdicts[blob] is None else None
            self._report(blob, stored.ref.key)
        return None if data is None else Manifest.from_bytes(data)

    def _proven(self, blob: Digest) -> bytes | None:
        try:
            data = self._backend.read(blob_name(blob), most_bytes=LARGEST_BYTES)
            what = _GONE if data is None else _DAMAGED
        except BackendError as error:
            data, what = None, self._unreadable(error)
        if data is not None and Digest.of(data) == blob:
            self._verdicts[blob] = None
            self._advance_bytes(len(data))
            return data
        self._verdicts[blob] = what
        self._mend(blob)
        return None

    def _check_blob(self, blob: Digest, key: Key | None) -> bool:
        if blob not in self._verdicts:
            self._verdicts[blob] = self._judge(blob)
            self._mend(blob)
        self._report(blob, key)
        return self._verdicts[blob] is None

    def _judge(self, blob: Digest) -> str | None:
        try:
            if not self._read_data:
                return None if self._backend.has(blob_name(blob)) else _GONE
            verdict = None if is_whole(self._backend, blob) else _DAMAGED
            self._advance_bytes(self._sizes.get(blob_name(blob), 0))
            return verdict
        except NotFoundError:
            return _GONE
        except BackendError as error:
            return self._unreadable(error)

    def _mend(self, blob: Digest) -> None:
        """Restore a lost or damaged blob from a copy, or quarantine it."""
        what = self._verdicts[blob]
        if what is None:
            return
        self._found[blob] = what
        if what not in (_GONE, _DAMAGED):
            self._unread.add(blob)
            return
        if not self._repair:
            return
        if self._is_restored(blob):
            self._verdicts[blob] = None
            self._done[blob] = "written again from this machine's copy"
        elif what == _DAMAGED:
            self._refs.quarantine_blob(blob)
            self._done[blob] = _QUARANTINED

    def _is_restored(self, blob: Digest) -> bool:
        name = blob_name(blob)
        try:
            if self._near is None or not is_whole(self._near, blob):
                return False
            self._backend.write(name, self._near.path(name))
            return is_whole(self._backend, blob)
        except (NotFoundError, BackendError):
            return False

    def _report(self, blob: Digest, key: Key | None) -> None:
        what = self._found.get(blob)
        if what is None:
            return
        done = self._done.get(blob, "")
        if self._verdicts[blob] is not None and key is not None and blob not in self._unread:
            done = f"{done}; {_FORGOTTEN}" if done else _FORGOTTEN
        unread = blob in self._unread
        self._add(blob_name(blob), f"blob {blob} {what}", key, done, unread=unread)

    def _check_packing(self) -> None:
        """Report adopted blobs whose content is right, but not the bytes it is packed in.

        Harmless, and nothing to repair: but bytes changed that nobody should have changed.
        """
        for blob, claims in self._packed.items():
            # One that was copied unread has no bytes that it could be compared with.
            known = {(each.size_bytes, each.xxh3) for each in claims if each.xxh3}
            if self._verdicts[blob] or len(known) < len(claims):
                continue
            try:
                found = measured(self._backend, blob)
            except BackendError as error:
                self._add_unread(blob_name(blob), error, next(iter(claims.values())))
                continue
            # One fit is enough: the same content may have been packed twice, at two times.
            if found is not None and found not in known:
                what = f"blob {blob} was altered; its packed content is intact"
                self._add(blob_name(blob), what, next(iter(claims.values())), harmless=True)

    def _check_copies(self) -> None:
        """Check this machine's copies; a damaged one is fetched anew at the next load."""
        if self._near is None:
            return
        for found in list(self._near.list("blobs")):
            blob = blob_of(found.name)
            try:
                if blob is None or self._is_good_copy(blob):
                    continue
            except NotFoundError:
                continue  # Another process needed its place.
            except BackendError as error:
                self._add_unread(found.name, error, None)
                continue
            if self._repair:
                self._near.delete([found.name])
            what = f"this machine's copy of blob {blob} is damaged"
            self._add(found.name, what, None, "removed, to be fetched again")

    def _is_good_copy(self, blob: Digest) -> bool:
        assert self._near is not None
        if not is_whole(self._near, blob):
            return False
        if blob.algorithm == "sha256" or self._verdicts.get(blob, "") is not None:
            return True
        # What is packed is right, but so is what the same content is packed in there.
        return measured(self._near, blob) == measured(self._backend, blob)

    def _check_index(self, remembered: Mapping[str, IndexEntry]) -> None:
        """Compare the index with the refs in the backend."""
        index = self._refs.index
        stale = []
        for entry in remembered.values():
            key = entry.ref.key
            there = self._refs_there.get(key, entry)
            if there is None or there == entry.ref:
                continue
            stale.append(key)
            what = "has another reference than the store"
            if there is entry:
                what = "knows a ref that is not there"
            self._add(str(index.path), f"the index {what}", key, "forgotten there", harmless=True)
        if self._repair:
            index.drop(stale)

    def _add(
        self,
        name: str,
        what: str,
        key: Key | None,
        done: str = "",
        *,
        harmless: bool = False,
        unread: bool = False,
    ) -> None:
        self._problems.append(Problem(name, what, key, done, harmless, unread))
