"""Saving: blobs, then the manifest, then the ref, then the index; also as the next of a series."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from functools import partial
from typing import Any

from memoflow import events
from memoflow.dataclass import dataclass
from memoflow.errors import BackendUnavailableError, IntegrityError, NotFoundError, UsageError
from memoflow.names import Digest, Key, Ref, entry_facts
from memoflow.objects import (
    NOTHING,
    Manifest,
    Packed,
    Proofs,
    Tree,
    blob_name,
    state_of,
)
from memoflow.store.deletion_log import BlobFate, GcSnapshot
from memoflow.store.refs.ref_file import LARGEST_INLINE_BYTES, Stored, encode
from memoflow.store.refs.refs import Refs
from memoflow.store.refs.remembered import Remembered, numbered
from memoflow.store.saves.adoption import Payload, adopt
from memoflow.store.saves.upload_heartbeat import UploadHeartbeat

_TRIES = 3
# The share of a pack that a save must use, or it stores again what it would use: where earlier
# saves stay, so that equal pieces are kept once; and where they are dropped, so that packs go.
_LEAST_USE = 1 / 8
_LEAST_USE_OF_DROPPED = 1 / 2
_TOKEN = re.compile(r"[0-9a-f]{1,32}")
_LISTED_SECONDS = 10.0  # how long a list of what is elsewhere serves

# Given the key that was taken, or None at first: the next one, or None to leave it at that.
NextKey = Callable[[Key | None], Key | None]


@dataclass(frozen=True)
class Previous:
    """The last save of a series: its manifest, and the manifest's form in its ref.

    `proven` tells that its blobs were there at the time of the outlook that the save goes by.
    `sizes` are how long they were, as far as this machine knows without asking.
    """

    manifest: Manifest
    listed: dict[str, Any] | Digest
    proven: bool = False
    sizes: Mapping[Digest, int] = field(default_factory=dict)


def save(
    refs: Refs,
    proofs: Proofs,
    next_key: NextKey,
    payload: Payload,
    *,
    meta: Mapping[str, Any],
    clock: Callable[[], float],
    expires: float | None,
    previous: Previous | None,
    durable: bool,
    created: float | None = None,
    outlook: GcSnapshot | None = None,
    least_use: float = _LEAST_USE,
) -> Ref:
    """Save under the first key that is free; see `Store.save` and `Store.append`.

    `outlook` is from before anything was looked for that `previous` has. `least_use` is the share
    of a pack that must be of use for the save to refer to it.
    """
    plain, created = _plain(meta), clock() if created is None else created
    outlook = outlook or refs.deletions.snapshot()
    key, fresh = None, False
    with UploadHeartbeat(refs.backend, clock=clock) as progress:
        for _ in range(_TRIES):
            attempt = _Attempt(refs, payload, previous, progress, least_use, durable, fresh)
            manifest, new_bytes = attempt.put()
            listed = attempt.put_manifest(manifest)
            encoded = partial(
                encode,
                manifest=listed,
                meta=plain,
                size_bytes=manifest.size_bytes,
                new_bytes=new_bytes,
                created=_whole_milliseconds(created),
                expires=None if expires is None else _whole_milliseconds(expires),
                keyring=refs.keyring,
            )
            progress.beat()  # A save that nobody waits for any more has no ref.
            ref, theirs = write_ref(refs, next_key, encoded, durable=durable)
            key = ref.key
            if theirs is not None:
                if stands(refs, theirs):
                    return theirs.ref
                continue
            # Not where the manifest's blob is that of a save that was not looked at.
            is_own = previous is None or previous.proven or listed != previous.listed
            is_sure = not payload.kept and (is_own or not isinstance(listed, Digest))
            verdict = blobs_fate(refs, outlook, manifest, listed, is_sure=is_sure)
            if verdict is BlobFate.THERE:
                refs.index.record([ref])
                _remember_proven(refs, ref, manifest, attempt.packed)
                refs.index.record_pieces(attempt.packed.new)
                paths = {each: refs.backend.path(blob_name(each)) for each in attempt.packed.whole}
                states = {each: state_of(path) for each, path in paths.items() if path is not None}
                proofs.remember({each: state for each, state in states.items() if state})
                events.emit("save", **entry_facts(ref))
                return ref
            # Deleted between being found and being reached by this ref, or it still could be:
            # write all of it anew, under other names.
            refs.drop_same(ref)
            if verdict is BlobFate.LOST:
                refs.index.drop_blobs(blob for blob in manifest.blobs if blob.algorithm == "sha256")
            outlook, previous, fresh = refs.deletions.look(), None, True
            progress.mark()  # At once: this sweep is quicker than we are.
    raise BackendUnavailableError(
        f"the bytes of {key} vanished {_TRIES} times while they were saved; "
        "is something else deleting blobs?"
    )


@dataclass
class _Attempt:
    """One attempt to write a save. A `fresh` one uses new names wherever it can."""

    refs: Refs
    payload: Payload
    previous: Previous | None
    progress: UploadHeartbeat
    least_use: float
    durable: bool
    fresh: bool
    packed: Packed = NOTHING

    def put(self) -> tuple[Manifest, int]:
        """Write the payload's bytes; return its manifest, and the number of new bytes."""
        if self.payload.tree is not None or self.payload.files:
            self.packed = self._pack()
        adopted, new_bytes = [], self.packed.new_bytes
        for name, adoption in sorted(self.payload.adopted.items()):
            self.progress.beat()
            taken, taken_bytes = adopt(self.refs.backend, name, adoption)
            adopted.append(taken)
            new_bytes += taken_bytes
        files = sorted((*self.packed.files, *self.payload.kept), key=lambda file: file.path)
        packed = self.packed
        manifest = Manifest(tuple(files), packed.folders, tuple(adopted), modes=packed.modes)
        return manifest, new_bytes

    def put_manifest(self, manifest: Manifest) -> dict[str, Any] | Digest:
        """Return the manifest for the ref: itself while it is small, else its digest."""
        if self.previous is not None and manifest == replace(self.previous.manifest, meta={}):
            return self.previous.listed
        data = manifest.to_bytes()
        if len(data) <= LARGEST_INLINE_BYTES:
            return manifest.to_json()
        if self.fresh:
            # Spaces between the parts of JSON mean nothing, but make for another digest.
            data += bytes(b" \t\r\n"[byte % 4] for byte in os.urandom(64))
        digest = Digest.of(data)
        self.refs.backend.write(blob_name(digest), data, durable=self.durable)
        return digest

    def _pack(self) -> Packed:
        # Here, since results without files need none of it.
        from memoflow.objects import packing, planning

        payload, previous, fresh = self.payload, self.previous, self.fresh
        sizes: dict[Digest, int] = {} if previous is None else dict(previous.sizes)
        earlier = planning.ReusablePieces(
            self.refs.backend,
            previous=None if previous is None else previous.manifest,
            proven=previous is not None and previous.proven,
            known=(lambda xxh3s: {}) if fresh else _known(self.refs, sizes),
            sizes=sizes,
        )
        return packing.pack(
            self.refs.backend,
            Tree.survey(payload.tree, payload.files, payload.ignore),
            whole=payload.whole and not fresh,
            linked=payload.linked and not fresh,
            earlier=earlier,
            least_use=self.least_use,
            fresh=fresh,
            beat=self.progress.beat,
            durable=self.durable,
        )


def as_previous(refs: Refs, stored: Stored, outlook: GcSnapshot) -> Previous:
    """Return the last save of a series, with the lengths and proofs of its blobs known here.

    They are proven if nothing was deleted since, as far as the outlook goes. Nothing is known where
    it is cheap to look, which is better.
    """
    is_proven, sizes = False, {}
    if refs.backend.takes_round_trips:
        proof, packs = _fact("proven", stored.ref), _fact("sizes", stored.ref)
        known = refs.index.get([proof, packs])
        is_proven = known.get(proof) == _proof(stored.ref, outlook)
        with suppress(ValueError, TypeError, AttributeError):
            lengths = json.loads(known.get(packs, "{}")) if is_proven else {}
            sizes = {Digest(f"sha256:{name}"): int(size) for name, size in lengths.items()}
    return Previous(refs.manifest(stored), stored.manifest, is_proven, sizes)


def _remember_proven(refs: Refs, ref: Ref, manifest: Manifest, packed: Packed) -> None:
    if not refs.backend.takes_round_trips:
        return
    sizes = {blob.hex: packed.sizes[blob] for blob in manifest.blobs & packed.sizes.keys()}
    refs.index.set(
        {
            _fact("proven", ref): _proof(ref, refs.deletions.snapshot()),
            _fact("sizes", ref): json.dumps(sizes),
        }
    )


def _fact(what: str, ref: Ref) -> str:
    # One for a series, so that there are not more and more of them.
    return f"{what} {str(ref.key).rpartition('/')[0]}"


def _proof(ref: Ref, outlook: GcSnapshot) -> str:
    return f"{ref.digest} {(outlook.generation or b'').decode(errors='replace')}"


def stands(refs: Refs, stored: Stored) -> bool:
    """Tell whether a ref that somebody wrote can be counted on; drop it if it leads nowhere.

    BackendUnavailableError if that depends on a sweep that stopped in the middle.
    """
    try:
        manifest = refs.manifest(stored)
    except (NotFoundError, IntegrityError):
        refs.drop_same(stored.ref)
        return False
    outlook = refs.deletions.snapshot()
    verdict = blobs_fate(refs, outlook, manifest, stored.manifest_blob, is_sure=False)
    if verdict is BlobFate.LOST:
        # Whoever wrote it died before noticing, or is about to notice.
        refs.drop_same(stored.ref)
    elif verdict is BlobFate.DOOMED:
        raise BackendUnavailableError(
            f"{stored.ref.key} is there, but a sweep that stopped in the middle may still delete "
            "bytes of it; forget it and save again"
        )
    return verdict is BlobFate.THERE


def blobs_fate(
    refs: Refs, outlook: GcSnapshot, manifest: Manifest, listed: object, *, is_sure: bool
) -> BlobFate:
    """Return the fate of the blobs that a ref reaches; see `DeletionLog.confirm`."""
    adopted = {blob_name(each.blob): 1 for each in manifest.adopted}
    sizes = dict(adopted)
    for file in manifest.files:
        for piece in file.pieces:
            name, end = blob_name(piece.blob), piece.offset + piece.length
            if sizes.get(name, 0) < end:
                sizes[name] = end
    if isinstance(listed, Digest):
        sizes[blob_name(listed)] = 1
    return refs.deletions.confirm(outlook, sizes, fixed=adopted, is_sure=is_sure)


def _plain(meta: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(meta), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"meta must be plain JSON data: {error}") from None
    return plain


def _known(refs: Refs, sizes: dict[Digest, int]) -> Callable[[Sequence[str]], Mapping[str, Any]]:
    """Return a lookup of pieces that other saves have stored.

    What is found is compared with stored bytes, so elsewhere only that is of use of which this
    machine has a copy, and then only while the original is there as well. `sizes` is told how long
    those are.
    """
    backend = refs.backend
    if not backend.takes_round_trips:
        return refs.index.find_pieces
    asked: dict[Digest, int] = {}

    def known(xxh3s: Sequence[str]) -> Mapping[str, Any]:
        places = refs.index.find_pieces(xxh3s)
        new = sorted({place.blob for place in places.values()} - asked.keys())
        here = [blob for blob in new if backend.path(blob_name(blob)) is not None]
        there = backend.sizes([blob_name(blob) for blob in here]) if here else []
        asked.update(dict.fromkeys(new, 0))
        found = {blob: size or 0 for blob, size in zip(here, there, strict=True)}
        asked.update(found)
        sizes.update(found)
        return {
            xxh3: place
            for xxh3, place in places.items()
            if place.offset + place.length <= asked[place.blob]
        }

    return known


def write_ref(
    refs: Refs,
    next_key: NextKey,
    encoded: Callable[[Key], tuple[Ref, bytes]],
    *,
    durable: bool,
) -> tuple[Ref, Stored | None]:
    """Return the ref that was written, or the one there instead."""
    for _ in range(_TRIES):
        taken: Key | None = None
        while (key := next_key(taken)) is not None:
            ref, data = encoded(key)
            # Last, so that a ref never names blobs that were not there.
            if refs.names.write_new(key, data, durable=durable):
                return ref, None
            taken = key
        assert taken is not None
        stored = refs.read_or_warn(taken)
        if stored is not None:
            return stored.ref, stored
        # It was forgotten since, or was damaged and is quarantined now.
        refs.make_room(taken)
    raise BackendUnavailableError(
        f"{taken} is taken by something that can neither be used nor quarantined; forget it, and "
        "save again"
    )


def _whole_milliseconds(seconds: float) -> float:
    # As the index keeps them: a ref is the same wherever it was found.
    return round(seconds * 1000) / 1000


class Next:
    """A save on its way to a series: the save before it, and its key."""

    def __init__(
        self,
        refs: Refs,
        series: Key,
        *,
        token: str | None,
        number: int | None,
        after: int,
        place: Callable[[int], int] | None,
    ) -> None:
        if token is not None and not _TOKEN.fullmatch(token):
            raise UsageError(f"{token!r} cannot end a key; give a token of hex digits")
        if number is not None and token is None:
            raise UsageError(f"number {number} of {series} is anybody's; give a token with it")
        # From before anything is looked for.
        self.outlook = refs.deletions.snapshot()
        self._refs = refs
        self._series = series
        self._token = token
        self._number = number
        self._after = after
        self._place = place
        self._began = time.monotonic()
        self._listed: list[Key] | None = None
        # Larger once a save of the series was dropped: by a rule, then more will be.
        self.least_use = _LEAST_USE

    def previous(self, remembered: Remembered) -> Previous | None:
        """Return the last save that is whole; None if there is none."""
        listed = numbered(self._refs.listed(self._series), self._series)
        if listed and len(listed) < _number(listed[0]):
            self.least_use = _LEAST_USE_OF_DROPPED
        if self._refs.backend.takes_round_trips:
            # One listing for this and for the number.
            self._listed = listed
            return _first_of(self._refs, listed, self.outlook)
        ref = remembered.last(self._series)
        if ref is None:
            return None
        try:
            return as_previous(self._refs, self._refs.read_same(ref), self.outlook)
        except (NotFoundError, IntegrityError):
            return None

    def key(self, taken: Key | None) -> Key | None:
        """Return the key to try, given the one that was taken; None to leave it at that."""
        if self._number is not None:
            return None if taken else self._series / f"{self._number:08d}-{self._token}"
        listed = self._listed
        # Listed anew when all is packed: others may have saved and forgotten since it began.
        if listed is None or taken or time.monotonic() - self._began > _LISTED_SECONDS:
            listed = numbered(self._refs.listed(self._series), self._series)
        found = [*listed, taken] if taken else listed
        number = max([self._after, *map(_number, found)]) + 1
        if self._place is not None and taken is None:
            number = self._place(number)
        return self._series / (f"{number:08d}" + (f"-{self._token}" if self._token else ""))


def _first_of(refs: Refs, keys: list[Key], outlook: GcSnapshot) -> Previous | None:
    for key in keys:
        stored = refs.read_or_warn(key)
        if stored is not None:
            with suppress(NotFoundError, IntegrityError):
                return as_previous(refs, stored, outlook)
    return None


def _number(key: Key) -> int:
    return int(key.parts[-1].partition("-")[0])
