"""The store of a flow's datastore, as one process uses it for memos."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from memoflow.backends import Local
from memoflow.display import printable
from memoflow.errors import MemoflowError, is_away
from memoflow.flow import artifact_store, maintenance
from memoflow.flow.host import storage
from memoflow.flow.host.blobs import BlobCache, NewBlobs
from memoflow.flow.host.finished_tasks import FinishedTasks
from memoflow.flow.memo.artifacts import Artifacts, RemoteArtifacts
from memoflow.flow.memo.card import CardFiles
from memoflow.kinds.candidates import Candidates
from memoflow.log import INFO, WARNING, report
from memoflow.masking import Mask, without_passwords
from memoflow.names import Key
from memoflow.storages import backend_of
from memoflow.storages.project_files import paths_of
from memoflow.store import Store
from memoflow.tracking import FileDigests, Paths


class StoreContext:
    """The store of one flow's datastore, and the files and tasks beside it."""

    def __init__(self, flow_datastore: Any, logger: Callable[..., None]) -> None:
        self.flow_datastore = flow_datastore
        self.is_cut_off = False  # no store, as its server does not answer: not to be asked again
        self.lists: dict[str, Any] = {}  # of a foreach, loaded last
        self.metadata: str | None = None  # the provider of the run, where others launch it
        self.evaluators: dict[str, Any] = {}  # of the Client, by step
        self._logger = logger
        self._said: set[str] = set()
        self._candidates: dict[Key, Candidates] = {}

    def say(self, line: str, level: int = INFO, *, head: str = "", timestamp: bool = True) -> None:
        line = printable(f"[memoize] {without_passwords(line)}")
        show = partial(self._logger, head=head, system_msg=True, timestamp=timestamp)
        report(line, show, level)

    def say_once(self, line: str, level: int = INFO) -> None:
        if line not in self._said:
            self._said.add(line)
            self.say(line, level)

    @cached_property
    def store(self) -> Store | None:
        """The store, or None if there is none to be had; that is said once."""
        try:
            where = artifact_store.of_datastore(
                self.flow_datastore.TYPE, self.flow_datastore.datastore_root
            )
            return where.store
        except (MemoflowError, OSError) as error:
            self.is_cut_off = is_away(error)
            self.say_once(f"off: {error}", WARNING)
            return None

    def is_all_here(self, metadata: Any) -> bool:
        """Tell whether datastore and metadata are on this machine, where threads gain nothing."""
        return {self.flow_datastore.TYPE, metadata.TYPE} == {"local"}

    def cut_off(self, error: Exception | None = None) -> None:
        """Go on without the store, whose server does not answer: waits for it would add up.

        Without an error that has been said where it was found out.
        """
        if error is not None:
            self.say_once(f"off: {error}", WARNING)
        self.is_cut_off = True
        self.store = None

    def mask_key(self) -> bytes:
        """Return the key for digests of passwords: the id of the store, if there is one."""
        return b"" if self.store is None else self.store.id.encode()

    @cached_property
    def digests(self) -> FileDigests:
        """The digests of files, as far as this machine has read them."""
        assert self.store is not None
        return FileDigests(self.store.index.get, self.store.index.set, self.say_once)

    @cached_property
    def paths(self) -> Paths:
        """The names and folders of the project's files."""
        return _paths_of(self.flow_datastore, self.store)

    @cached_property
    def artifacts(self) -> Artifacts | RemoteArtifacts:
        assert self.store is not None
        datastore = self.flow_datastore
        root = f"{datastore.datastore_root.rstrip('/')}/{datastore.flow_name}/data"
        data = backend_of(datastore.TYPE, root)
        if isinstance(data, Local):
            return Artifacts(datastore, self.store)
        return RemoteArtifacts(datastore, self.store, data)

    @cached_property
    def cards(self) -> CardFiles | None:
        """The cards of the flow's tasks, or None if there can be none."""
        return CardFiles.of(self.flow_datastore, self.say_once)

    def candidates(self, code_key: Key, mask: Mask) -> Candidates:
        """Return the results under a code key, as this process has read them."""
        found = self._candidates.get(code_key)
        if found is None:
            assert self.store is not None
            found = self._candidates[code_key] = Candidates(self.store, code_key, mask=mask)
        return found

    @cached_property
    def blobs(self) -> BlobCache:
        """The packed artifacts of the flow that this process has read or written."""
        return BlobCache()

    @cached_property
    def new_blobs(self) -> NewBlobs:
        return NewBlobs(self.flow_datastore, self.blobs, self.artifacts.is_seen)

    @cached_property
    def reader(self) -> Any:
        """An own way to read tasks."""
        return storage.reader(self.flow_datastore, self.blobs)

    @cached_property
    def tasks(self) -> FinishedTasks:
        """The finished tasks of the run."""
        return FinishedTasks(self.reader)

    def collect(self) -> None:
        """Evict and sweep, if nobody has within the hour."""
        if self.store is not None:
            maintenance.collect(self.store, self.say)


def _paths_of(flow_datastore: Any, store: Store | None) -> Paths:
    """Return the names of the project's files, without those that Metaflow and memoflow keep."""
    script = os.path.abspath(str(getattr(sys.modules["__main__"], "__file__", "") or sys.argv[0]))
    datastores = [flow_datastore.datastore_root] if flow_datastore.TYPE == "local" else []
    return paths_of(script, os.path.dirname(script), store, datastores)
