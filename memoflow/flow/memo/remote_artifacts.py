"""Metaflow's artifacts in a datastore elsewhere: copied into the store and back, unread."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any, BinaryIO

from memoflow.backends import Backend, BlobLocation
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.flow.host.storage import storage_of
from memoflow.kinds.memo_fields import Artifact
from memoflow.names import Digest
from memoflow.objects import blob_name, is_whole
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
    there is asked in bulk, and believed for an hour by this process; a later run asks anew,
    since people clean up between runs.
    """

    def __init__(self, flow_datastore: Any, store: Store, data: Backend) -> None:
        self._storage = storage_of(flow_datastore)
        self._flow = flow_datastore.flow_name
        self._store = store
        self._data = data
        self._seen: dict[str, float] = {}  # SHA-1, and when

    def packed(self, sha1: str, info: dict[str, Any]) -> tuple[Artifact, BlobLocation]:
        """Return an artifact that Metaflow has written, and where it lies."""
        path = self._storage.path_join(self._flow, "data", _name(sha1))
        try:
            _, cas = self._storage.info_file(path)
        except NotImplementedError:  # Metaflow's datastores on Azure and GCS do not tell.
            cas = _PACKED
        return Artifact(sha1, info, cas or {}), BlobLocation(self._data, _name(sha1))

    def look_ahead(self, sha1s: Collection[str]) -> None:
        """Look for these artifacts in bulk, ahead of `restore`."""
        now = time.time()
        wanted = {sha1 for sha1 in sha1s if not self._is_fresh(self._seen.get(sha1), now)}
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
            self._give_back(artifact, digest)
        except NotFoundError:
            raise IntegrityError(f"the bytes of artifact {digest} are gone") from None
        self._note([artifact.sha1], time.time())

    def _give_back(self, artifact: Artifact, digest: Digest) -> None:
        """Send the bytes in the store, verified here: a server would copy damaged bytes too.

        Metaflow never writes an artifact that exists, so what is wrong would stay for ever.
        """
        if not is_whole(self._store.backend, digest):
            self._store.quarantine(digest)
            raise IntegrityError(f"the bytes of artifact {digest} are damaged")
        if not artifact.cas:
            # With what the server keeps beside the bytes, if the two are on one.
            place = BlobLocation(self._store.backend, blob_name(digest))
            self._data.link_or_copy(_name(artifact.sha1), place)
            return
        file = self._store.backend.open(blob_name(digest))
        if file is None:
            raise NotFoundError(f"blob {digest} is gone from the store")
        with file:
            self._save(artifact, file)

    def _save(self, artifact: Artifact, file: BinaryIO) -> None:
        path = self._storage.path_join(self._flow, "data", _name(artifact.sha1))
        self._storage.save_bytes(iter([(path, (file, artifact.cas))]), overwrite=True)

    def _listed(self, wanted: set[str], now: float) -> set[str]:
        """Return those that exist, by a listing of all; none if there are far too many others."""
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
        self._seen.update(dict.fromkeys(sha1s, now))

    def _is_fresh(self, seen: float | None, now: float) -> bool:
        return seen is not None and 0 <= now - seen < _TRUSTED.total_seconds()


def _name(sha1: str) -> str:
    return f"{sha1[:2]}/{sha1}"
