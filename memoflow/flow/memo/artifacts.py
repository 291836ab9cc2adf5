"""Metaflow's artifacts on disk: taken into the store, and given back."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from memoflow.errors import IntegrityError, MemoflowError
from memoflow.kinds.memo_fields import Artifact
from memoflow.log import log
from memoflow.names import Digest
from memoflow.objects import prove
from memoflow.store import Adoption, Store

# Metaflow writes this beside an artifact that it packed with gzip; all but a few are.
_PACKED = {"cas_raw": False, "cas_version": 1}

# Up to this size a hit reads its outputs again; a larger one is trusted while its inode, size
# and time of change are what they were when it was last read.
_READ_AGAIN = 64 << 20

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
            _write_whole(meta, expected.encode())

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


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
