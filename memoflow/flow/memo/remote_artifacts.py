"""Metaflow's artifacts in a datastore elsewhere: copied into the store and back, unread."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, BinaryIO

from memoflow.backends import Backend, Place
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.kinds.memo import Artifact
from memoflow.names import Digest
from memoflow.objects import blob_name, prove
from memoflow.store import Store

_TRUSTED = timedelta(hours=1)
# A folder of artifacts is listed as far as this many times what is looked for, and no further.
_LISTED_FOR_EACH = 100
_LEAST_LISTED = 4000
_FEW = 8  # are asked for one by one
_PACKED = {"cas_raw": False, "cas_version": 1}  # what Metaflow 2.19 notes of each artifact


class RemoteArtifacts:
    """The content-addressed objects of one flow in a datastore that is not on this machine.

    Layout (Metaflow 2.19): <root>/<Flow>/data/<first two of SHA-1>/<SHA-1>; what is needed to load
    it is metadata of the object. `data` is the backend of that folder. Whether an artifact is
    there is asked in bulk, and believed for an hour.
    """

    def __init__(self, flow_datastore: Any, store: Store, data: Backend) -> None:
        self._storage = flow_datastore._storage_impl
        self._flow = flow_datastore.flow_name
        self._store = store
        self._data = data
        self._seen: dict[str, float] = {}  # SHA-1, and when

    def packed(self, sha1: str, info: dict[str, Any]) -> tuple[Artifact, Place]:
        """Return an artifact that Metaflow has written, and where it lies."""
        path = self._storage.path_join(self._flow, "data", _name(sha1))
        try:
            _, cas = self._storage.info_file(path)
        except NotImplementedError:  # Metaflow's datastores on Azure and GCS do not tell.
            cas = _PACKED
        return Artifact(sha1, info, cas or {}), Place(self._data, _name(sha1))

    def look_ahead(self, sha1s: Collection[str]) -> None:
        """See which of these are there, for `restore`."""
        now = time.time()
        wanted = {sha1 for sha1 in sha1s if not self._is_fresh(self._seen.get(sha1), now)}
        facts = self._store.index.recall([self._fact(sha1) for sha1 in wanted])
        for sha1 in list(wanted):
            seen = json.loads(facts.get(self._fact(sha1), "null"))
            if self._is_fresh(seen, now):
                self._seen[sha1] = seen
                wanted.discard(sha1)
        if len(wanted) > _FEW:
            wanted -= self._listed(wanted, now)
        self._note(self._asked(list(wanted)), now)

    def restore(self, artifact: Artifact) -> None:
        """Make the artifact loadable from this flow, out of the store if it is not there.

        Raises IntegrityError if no copy is left.
        """
        self.look_ahead([artifact.sha1])
        if artifact.sha1 in self._seen:
            return
        digest = Digest(f"sha1:{artifact.sha1}")
        try:
            if self._store.is_signed:
                self._give_back_proven(artifact, digest)
            elif artifact.cas and self._store.backend.is_local:
                self._send(artifact, digest)
            else:
                self._data.adopt(
                    _name(artifact.sha1), Place(self._store.backend, blob_name(digest))
                )
        except NotFoundError:
            raise IntegrityError(f"the bytes of artifact {digest} are gone") from None
        self._note([artifact.sha1], time.time())

    def _give_back_proven(self, artifact: Artifact, digest: Digest) -> None:
        """Send a copy that was read here: what a server copies unread can be anybody's."""
        path = self._store.blob_path(digest)
        if path is None:
            raise IntegrityError(f"there is no copy of artifact {digest} here that could be proven")
        if not prove(path, digest=digest, xxh3="", size_bytes=artifact.packed_size):
            self._store.quarantine(digest)
            raise IntegrityError(f"the bytes of artifact {digest} are damaged")
        if artifact.cas:
            with open(path, "rb") as file:
                self._save(artifact, file)
        else:
            self._data.adopt(_name(artifact.sha1), path)

    def _send(self, artifact: Artifact, digest: Digest) -> None:
        """Write an artifact as Metaflow would: with what it notes beside the bytes."""
        file = self._store.backend.open(blob_name(digest))
        if file is None:
            raise NotFoundError(f"blob {digest} is gone from the store")
        with file:
            self._save(artifact, file)

    def _save(self, artifact: Artifact, file: BinaryIO) -> None:
        path = self._storage.path_join(self._flow, "data", _name(artifact.sha1))
        self._storage.save_bytes(iter([(path, (file, artifact.cas))]), overwrite=True)

    def _listed(self, wanted: set[str], now: float) -> set[str]:
        """Return which are there by listing them all; none if there are far too many others."""
        most = max(_LEAST_LISTED, _LISTED_FOR_EACH * len(wanted))
        found = set()
        for count, each in enumerate(self._data.list("")):
            if count > most:
                break
            sha1 = each.name.rpartition("/")[2]
            if sha1 in wanted:
                found.add(sha1)
        self._note(found, now)
        return found

    def _asked(self, wanted: list[str]) -> list[str]:
        sizes = self._data.sizes([_name(sha1) for sha1 in wanted])
        return [sha1 for sha1, size in zip(wanted, sizes, strict=True) if size is not None]

    def _note(self, sha1s: Iterable[str], now: float) -> None:
        found = dict.fromkeys(sha1s, now)
        self._seen.update(found)
        self._store.index.remember({self._fact(sha1): json.dumps(now) for sha1 in found})

    def _is_fresh(self, seen: float | None, now: float) -> bool:
        return seen is not None and 0 <= now - seen < _TRUSTED.total_seconds()

    def _fact(self, sha1: str) -> str:
        return f"there:{self._data!r}/{sha1}"


def _name(sha1: str) -> str:
    return f"{sha1[:2]}/{sha1}"
