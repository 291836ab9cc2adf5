"""The session: what one process holds while it launches a run or runs a task."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from memoflow.display import printable
from memoflow.errors import BackendUnreachableError, MemoflowError
from memoflow.flow import artifact_store, maintenance
from memoflow.flow.host import storage
from memoflow.flow.memo.artifacts import Artifacts
from memoflow.flow.memo.card_files import CardFiles
from memoflow.flow.memo.decision import Decision
from memoflow.flow.memo.project import paths_of
from memoflow.kinds import memo
from memoflow.masking import without_passwords
from memoflow.names import Key
from memoflow.storages import backend_of
from memoflow.store import Store
from memoflow.tracking import FileDigests, Paths

if TYPE_CHECKING:
    from memoflow.flow.memo.remote_artifacts import RemoteArtifacts
    from memoflow.kinds.evicted import Removal
    from memoflow.kinds.nearest import EarlierResults

# Told to processes that a memoized step starts: the leases that are held until they end.
LEASES = "MEMOFLOW_LEASES"

_CACHED_BLOB_BYTES = 1 << 20
_LOOK_AHEAD_EVERY_SECONDS = 60.0


class Session:
    """The store of one flow's datastore, and what this process has seen of it."""

    def __init__(self, flow_datastore: Any, logger: Callable[..., None]) -> None:
        self.flow_datastore = flow_datastore
        self.logger = logger
        self.hits: list[tuple[str, str, str, str, float]] = []  # flow, run, step, task, saved
        self.misses: set[str] = set()  # ids of the tasks whose workers do not look again
        self.missed: dict[str, Decision] = {}  # the last of each step
        self.began = time.time()
        self.run = ""  # Flow/run, whose own results explain nothing of it
        self.earlier: dict[Key, EarlierResults] = {}  # by the scope, as `miss` reads it
        self.had_results: dict[Key, bool] = {}  # so, too
        self.removals: dict[Key, dict[str, Removal]] = {}  # so, too
        self.lists: dict[str, Any] = {}
        self.ended = False
        self.launches = False  # whether this process looks up tasks that others will run
        self.said_uncached: set[tuple[str, str]] = set()  # step and reason
        self.evaluators: dict[str, Any] = {}  # of the Client, by step
        self.metadata: str | None = None  # the provider of the run, where others launch it
        self.is_cut_off = False  # no store, as its server does not answer: not to be asked again
        self._looked_ahead: dict[Key, float] = {}
        self._said: set[str] = set()

    def say(self, line: str) -> None:
        self.logger(printable(f"[memoize] {without_passwords(line)}"), system_msg=True)

    def say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    @cached_property
    def store(self) -> Store | None:
        """The store, or None if there is none to be had; that is said once."""
        try:
            where = artifact_store.of_datastore(
                self.flow_datastore.TYPE, self.flow_datastore.datastore_root
            )
            return where.store
        except (MemoflowError, OSError) as error:
            self.is_cut_off = isinstance(error, BackendUnreachableError)
            self.say_once(f"off: {error}")
            return None

    def cut_off(self, error: BackendUnreachableError | None = None) -> None:
        """Go on without the store, whose server does not answer: waits for it would add up.

        Without an error that has been said where it was found out.
        """
        if error is not None:
            self.say_once(f"off: {error}")
        self.is_cut_off = True
        self.store = None

    def mask_key(self) -> bytes:
        """Return what keys the digests of passwords: the id of the store, if there is one."""
        return b"" if self.store is None else self.store.id.encode()

    @cached_property
    def digests(self) -> FileDigests:
        """The digests of files, as far as this machine has read them."""
        assert self.store is not None
        return FileDigests(self.store.index.get, self.store.index.set, self.say_once)

    @cached_property
    def paths(self) -> Paths:
        """Where the files of the project lie."""
        return paths_of(self.flow_datastore, self.store)

    @cached_property
    def artifacts(self) -> Artifacts | RemoteArtifacts:
        assert self.store is not None
        datastore = self.flow_datastore
        root = f"{datastore.datastore_root.rstrip('/')}/{datastore.flow_name}/data"
        data = backend_of(datastore.TYPE, root)
        if data.is_local:
            return Artifacts(datastore, self.store)
        # Here, as few need it.
        from memoflow.flow.memo.remote_artifacts import RemoteArtifacts

        return RemoteArtifacts(datastore, self.store, data)

    @cached_property
    def cards(self) -> CardFiles | None:
        """The cards of the flow's tasks, or None if there can be none."""
        return CardFiles.of(self.flow_datastore, self.say_once)

    def look_ahead(self, scope_key: Key) -> None:
        """Read in bulk what many lookups in a scope will ask for, where asking takes a while."""
        if self.store is None or self.store.backend.is_local:
            return
        now = time.monotonic()
        if now - self._looked_ahead.get(scope_key, -_LOOK_AHEAD_EVERY_SECONDS) < (
            _LOOK_AHEAD_EVERY_SECONDS
        ):
            return
        self._looked_ahead[scope_key] = now
        refs = self.store.read_ahead(scope_key)
        if not isinstance(self.artifacts, Artifacts):
            self.artifacts.look_ahead(memo.artifacts_of(self.store, refs))

    def leave_bundles(self) -> None:
        """Read what this run has added, so that it lies in bulk for the next one."""
        for scope_key in self._looked_ahead:
            self._looked_ahead[scope_key] = -_LOOK_AHEAD_EVERY_SECONDS
            self.look_ahead(scope_key)

    @cached_property
    def reader(self) -> Any:
        """An own way to read tasks."""
        self._open: OrderedDict[str, Any] = OrderedDict()
        return storage.reader(self.flow_datastore, _SmallBlobs())

    def task(self, path: str) -> Any:
        """Return the datastore of a finished task, `run/step/task` or with its attempt."""
        reader = self.reader
        if path in self._open:
            return self._open[path]
        run, step, task_id, *attempt = path.split("/")
        found = reader.get_task_datastore(
            run, step, task_id, attempt=int(attempt[0]) if attempt else None
        )
        self._open[path] = found
        if len(self._open) > 64:
            self._open.popitem(last=False)
        return found

    def collect(self) -> None:
        """Evict and sweep, if nobody has within the hour."""
        if self.store is not None:
            maintenance.collect(self.store, self.say)


class _SmallBlobs:
    """A blob cache, as Metaflow's content-addressed store asks one for bytes it has loaded."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes] = OrderedDict()

    def load_key(self, key: str) -> bytes | None:
        return self._blobs.get(key)

    def store_key(self, key: str, blob: bytes) -> None:
        if len(blob) <= _CACHED_BLOB_BYTES:
            self._blobs[key] = blob
            if len(self._blobs) > 64:
                self._blobs.popitem(last=False)


_sessions: dict[int, Session] = {}


def session_of(flow_datastore: Any, logger: Callable[..., None]) -> Session:
    """Return this process's session for a datastore; a forked child gets its own."""
    return _sessions.setdefault(os.getpid(), Session(flow_datastore, logger))
