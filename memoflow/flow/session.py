"""The session: what one process holds while it launches a run or runs a task."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from metaflow import metaflow_config
from metaflow.datastore import FlowDataStore

from memoflow import units
from memoflow.errors import MemoflowError, RequestError
from memoflow.flow.artifacts import Artifacts
from memoflow.kinds import memo
from memoflow.store import Store, open_store

# Told to workers by the scheduler: what it decided, so that they need not look again.
TOLD = "MEMOFLOW_TOLD"

_CACHED_BLOB_BYTES = 1 << 20


class Session:
    """The store of one flow's datastore, and what this process has seen of it."""

    def __init__(self, flow_datastore: Any, logger: Callable[..., None]) -> None:
        self.flow_datastore = flow_datastore
        self.logger = logger
        self.hits: list[tuple[str, str, str, str, float]] = []  # flow, run, step, task, saved
        self.misses: set[str] = set()  # ids of the tasks whose workers do not look again
        self.reasons: dict[str, str] = {}
        self.lists: dict[str, Any] = {}
        self.ended = False
        self._said: set[str] = set()

    def say(self, line: str) -> None:
        self.logger(f"[memoize] {line}", system_msg=True)

    def say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self.say(line)

    @cached_property
    def store(self) -> Store | None:
        """The store, or None if there is none to be had; that is said once."""
        try:
            return open_store(store_root(self.flow_datastore))
        except (MemoflowError, OSError) as error:
            self.say_once(f"off: {error}")
            return None

    @cached_property
    def artifacts(self) -> Artifacts:
        assert self.store is not None
        return Artifacts(self.flow_datastore, self.store)

    @cached_property
    def reader(self) -> Any:
        """An own way to read tasks: the runtime's is not ours to give a cache to."""
        datastore = FlowDataStore(
            self.flow_datastore.flow_name,
            storage_impl=type(self.flow_datastore._storage_impl),
            ds_root=self.flow_datastore.datastore_root,
        )
        datastore.ca_store.set_blob_cache(_SmallBlobs())
        self._open: OrderedDict[str, Any] = OrderedDict()
        return datastore

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
        """Evict and sweep, at most once an hour however many runs end."""
        store = self.store
        if store is None or not store.housekeeping_due(timedelta(hours=1)):
            return
        evicted = store.evict(max_size_bytes=budget_bytes())
        memo.prune(store)
        store.sweep(keep_newer=timedelta(hours=1))
        count = sum(memo.is_result(ref.key) for ref in evicted.refs)
        if count:
            self.say(f"evicted {count} {'entry' if count == 1 else 'entries'}")


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


def budget_bytes() -> int | None:
    """Return the budget of the store; RequestError if what is set for it is no size."""
    text = metaflow_config.MEMOFLOW_MAX_SIZE
    return units.size("METAFLOW_MEMOFLOW_MAX_SIZE", text) if text else None


def store_root(flow_datastore: Any) -> Path:
    """Return where the store of a datastore is; RequestError if it cannot be there."""
    root = metaflow_config.MEMOFLOW_ROOT
    if root:
        if "://" in root:
            raise RequestError(
                f"METAFLOW_MEMOFLOW_ROOT={root} is not a local directory; "
                "this version keeps its store on local disks only"
            )
        return Path(root)
    if flow_datastore.TYPE != "local":
        raise RequestError(
            f"the datastore is {flow_datastore.TYPE}; this version memoizes local datastores "
            "only, all steps run as usual"
        )
    return Path(flow_datastore.datastore_root) / "memoflow"


_sessions: dict[int, Session] = {}


def session_of(flow_datastore: Any, logger: Callable[..., None]) -> Session:
    """Return this process's session for a datastore; a forked child gets its own."""
    return _sessions.setdefault(os.getpid(), Session(flow_datastore, logger))
