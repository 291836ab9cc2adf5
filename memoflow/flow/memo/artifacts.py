"""Metaflow's artifacts on disk or elsewhere: taken into the store, and given back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from memoflow.backends import Backend, BlobLocation
from memoflow.errors import IntegrityError, MemoflowError, NotFoundError
from memoflow.flow.host.storage import storage_of
from memoflow.kinds.memo_fields import Artifact
from memoflow.log import log
from memoflow.names import Digest
from memoflow.objects import blob_name, is_whole, prove
from memoflow.store import Adoption, Store

# Metaflow writes this beside an artifact that it packed with gzip; all but a few are.
_PACKED = {"cas_raw": False, "cas_version": 1}

# Up to this size a hit reads its outputs again; a larger one is trusted while its inode, size
# and time of change are what they were when it was last read.
_READ_AGAIN = 64 << 20

# A flow's artifacts elsewhere that were seen are believed to be there for this long.
_TRUSTED = timedelta(hours=1)
# A folder of artifacts is listed as far as this many times what is looked for, and no further.
_LISTED_FOR_EACH = 100
_LEAST_LISTED = 4000
_FEW = 8  # are asked for one by one

State = tuple[int, int, int]


class Artifacts:
    """The content-addressed files of one flow in a local datastore.

    Layout (Metaflow 2.19): <root>/<Flow>/data/<first two of SHA-1>/<SHA-1>, gzip of a pickle,
    and beside it <SHA-1>_meta, without which it cannot be loaded.
    """

    def __init__(self, flow_datastore: Any, store: Store) -> None:
        self._data: Path = Path(flow_datastore.datastore_root) / flow_datastore.flow_name / "data"
        self._store = store
        self._proven: set[tuple[str, State]] = set()  # within this process

    def is_seen(self, sha1: str) -> bool:
        """Return False, as Metaflow looks for each file by itself."""
        return False

    def path(self, sha1: str) -> Path:
        return self._data / sha1[:2] / sha1

    def packed(self, sha1: str, info: dict[str, Any]) -> tuple[Artifact, Path]:
        """Return an artifact that Metaflow has written, and the file that holds it."""
        path = self.path(sha1)
        try:
            cas = json.loads(_meta(path).read_text())
        except FileNotFoundError:
            cas = {}
        return Artifact(sha1, info, {} if cas == _PACKED else cas), path

    def restore(self, artifact: Artifact) -> None:
        """Make the artifact loadable from this flow, out of the store if it is not there.

        Raises IntegrityError if no good copy is left. A damaged file is quarantined by then:
        Metaflow never writes an artifact whose file exists, so it would stay for ever. Where the
        store has a copy of its own, each of the two is mended from the other.
        """
        path = self.path(artifact.sha1)
        if not self._is_whole(path, artifact):
            if path.exists():
                path.replace(path.with_name(path.name + ".damaged"))
            self._take_back(artifact, path)
        else:
            self._mend_blob(artifact, path)
        expected = json.dumps(artifact.cas or _PACKED)
        meta = _meta(path)
        if not meta.exists() or meta.read_text() != expected:
            temporary = meta.with_name(f"{meta.name}.{os.getpid()}.tmp")
            temporary.write_text(expected)
            temporary.replace(meta)

    def _take_back(self, artifact: Artifact, path: Path) -> None:
        digest = Digest(f"sha1:{artifact.sha1}")
        blob = self._store.blob_path(digest)
        if blob is None:
            raise IntegrityError(f"the bytes of artifact {digest} are gone")
        if not self._is_whole(blob, artifact):
            self._store.quarantine(digest)
            raise IntegrityError(f"the bytes of artifact {digest} are damaged")
        path.parent.mkdir(parents=True, exist_ok=True)
        _link(blob, path)

    def _mend_blob(self, artifact: Artifact, path: Path) -> None:
        if self._store.backend.takes_round_trips:
            return  # To look at it would be to fetch it.
        digest = Digest(f"sha1:{artifact.sha1}")
        blob = self._store.blob_path(digest)
        if blob is None or not self._is_whole(blob, artifact):
            with contextlib.suppress(MemoflowError):  # The hit needs only the flow's own file.
                self._store.mend(Adoption(digest, path))
                log.warning("blob %s was lost or damaged, and is whole again", digest)

    def _is_whole(self, path: Path, artifact: Artifact) -> bool:
        state = _state(path)
        if state is None:
            return False
        if (artifact.sha1, state) in self._proven:
            return True
        fact = f"proven:{path}"
        large = state[1] > _READ_AGAIN
        if large and self._store.index.get([fact]).get(fact) == json.dumps(state):
            return True
        digest = Digest(f"sha1:{artifact.sha1}")
        # XXH3-128 can be forged: where refs are signed, what they name has to have its SHA-1.
        xxh3 = "" if self._store.is_signed else artifact.xxh3
        if not prove(path, digest=digest, xxh3=xxh3, size_bytes=artifact.packed_size):
            return False
        if large:
            self._store.index.set({fact: json.dumps(state)})
        self._proven.add((artifact.sha1, state))
        return True


def _state(path: Path) -> State | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    # Not the time of the inode's last change: each new hard link sets it.
    return found.st_ino, found.st_size, found.st_mtime_ns


def _meta(path: Path) -> Path:
    return path.with_name(path.name + "_meta")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # Another file system, or one without hard links.
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(target)


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

    def look_ahead(self, sha1s: Collection[str], *, tasks: int = 1) -> None:
        """Look for these artifacts in bulk, ahead of `restore` for so many tasks.

        Many tasks may share few outputs, but each has artifacts of its own besides, such as its
        place in a foreach, and those of an equal earlier run are not to be written again.
        """
        now = time.time()
        wanted = {sha1 for sha1 in sha1s if not self.is_seen(sha1)}
        if wanted and (most := max(len(wanted), tasks)) > _FEW:
            wanted -= self._listed(wanted, most, now)
        asked = list(wanted)
        sizes = self._data.sizes([_name(sha1) for sha1 in asked])
        self._note((sha1 for sha1, size in zip(asked, sizes, strict=True) if size is not None), now)

    def is_seen(self, sha1: str) -> bool:
        """Tell whether an artifact was there within the hour, without asking."""
        return 0 <= time.time() - self._seen.get(sha1, 0) < _TRUSTED.total_seconds()

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
        path = self._storage.path_join(self._flow, "data", _name(artifact.sha1))
        with file:
            self._storage.save_bytes(iter([(path, (file, artifact.cas))]), overwrite=True)

    def _listed(self, wanted: set[str], count: int, now: float) -> set[str]:
        """Return those that exist, by a listing of all, or of some if there are far more others."""
        most = max(_LEAST_LISTED, _LISTED_FOR_EACH * count)
        found = {each.name.rpartition("/")[2] for each in islice(self._data.list(""), most)}
        self._note(found, now)  # others, too
        return found & wanted

    def _note(self, sha1s: Iterable[str], now: float) -> None:
        self._seen.update(dict.fromkeys(sha1s, now))


def _name(sha1: str) -> str:
    return f"{sha1[:2]}/{sha1}"
