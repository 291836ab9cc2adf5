"""Artifact store: the place of checkpoints, models and snapshots, and switching it."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from metaflow import metaflow_config

from memoflow.dataclass import dataclass
from memoflow.flow.host import command_line
from memoflow.flow.task import launch_info
from memoflow.flow.task.process import ARTIFACT_STORE as VARIABLE
from memoflow.storages import backend_of, check, configured, folder_of
from memoflow.store import Store, open_store
from memoflow.units import flag

if TYPE_CHECKING:
    from memoflow.kinds.legacy import Legacy

# As metaflow-checkpoint names them, in the tags of a run and the metadata of a task.
_TYPE, _ROOT = "artifact-store-ds-type", "artifact-store-ds-root"


@dataclass(frozen=True)
class ArtifactStore:
    """A datastore by type and root, and the folder that its store is."""

    type: str
    root: str
    folder: str

    @property
    def store(self) -> Store:
        """The store; MemoflowError if there is none to be had."""
        return _store(self)

    @property
    def legacy(self) -> Legacy:
        """The saves of metaflow-checkpoint in the datastore."""
        return _legacy(self)


@cache
def _store(where: ArtifactStore) -> Store:
    store = open_store(backend_of(where.type, where.folder, _configs.get(where.root)))
    is_of_flow = _of_process is not None or command_line.is_running_command()
    atexit.register(_let_go, store, os.getpid(), is_of_flow or VARIABLE in os.environ)
    return store


def _let_go(store: Store, pid: int, is_of_flow: bool) -> None:
    """Note the used entries: a task's machine may go with it, and scripts have no run's end."""
    if os.getpid() != pid:
        return  # Forked: it has what its parent has, and that writes it.
    if launch_info.is_elsewhere() or not is_of_flow:
        store.note_uses(once=launch_info.is_elsewhere())
    store.close()


@cache
def _legacy(where: ArtifactStore) -> Legacy:
    # Here, since tasks without checkpoints and models never look for such saves.
    from memoflow.kinds.legacy import Legacy

    allowed = flag("METAFLOW_MEMOFLOW_LEGACY", metaflow_config.MEMOFLOW_LEGACY)
    backend = backend_of(where.type, where.root, _configs.get(where.root))
    return Legacy(backend, is_trusted=allowed or not where.store.is_signed)


# Of datastores with a configuration of their own, by root: it can hold secrets, so it is neither
# written down nor told to subprocesses.
_configs: dict[str, dict[str, Any]] = {}


def of_datastore(type: str, root: str) -> ArtifactStore:
    """Return the store of a datastore of Metaflow's; METAFLOW_MEMOFLOW_ROOT puts it elsewhere."""
    root = _absolute(type, root)
    return ArtifactStore(type, root, folder_of(type, root))


def default() -> ArtifactStore:
    """Return the store of the datastore that Metaflow is configured to use.

    In a task and in its subprocesses that is the task's.
    """
    global _of_process
    datastore = command_line.flow_datastore()
    if datastore is not None:
        # For other threads, too, which have no context.
        _of_process = of_datastore(datastore.TYPE, datastore.datastore_root)
    if _of_process is not None:
        return _of_process
    told = _told("default")
    if told is not None:
        return told
    return of_datastore(*configured())


# Of this thread alone: another may work with the store of another run at the same time.
_switched: ContextVar[ArtifactStore | None] = ContextVar("switched", default=None)
_of_flow: ArtifactStore | None = None
_of_process: ArtifactStore | None = None


def current_store() -> ArtifactStore:
    """Return the store in force: of an `artifact_store_from`, of the flow, or the default."""
    return _switched.get() or _of_flow or _told("flow") or default()


def check_usable() -> None:
    """Raise UsageError if there can be no store where the flow's is to be."""
    where = current_store()
    check(where.type, where.folder)


def tell_subprocesses() -> None:
    """Set the environment variable from which a subprocess of this task knows its stores."""
    stores = {"flow": _of_flow, "default": default()}
    os.environ[VARIABLE] = json.dumps(
        {name: None if where is None else asdict(where) for name, where in stores.items()}
    )


def _told(name: str) -> ArtifactStore | None:
    """Return the store that the task which started this process told of."""
    told = json.loads(os.environ.get(VARIABLE, "{}")).get(name)
    return None if told is None else ArtifactStore(**told)


def notes_of_flow() -> dict[str, str]:
    """Return the notes on a store of the flow's own, from which `switched` finds it; else none."""
    return {} if _of_flow is None else {_TYPE: _of_flow.type, _ROOT: _of_flow.root}


def use_for_flow(type: str, root: str, config: dict[str, Any]) -> None:
    """Keep the flow's saves in this datastore from now on; MemoflowError if that cannot be."""
    global _of_flow
    where = _at(type, root, config)
    check(where.type, where.folder)
    _of_flow = where


@contextlib.contextmanager
def switched(notes: Mapping[str, str], config: dict[str, Any]) -> Iterator[None]:
    """Use the store of a run or task within the block, by its tags or metadata.

    Without notes of `notes_of_flow` in them that is the default store.
    """
    where = default()
    if notes.keys() >= {_TYPE, _ROOT}:
        where = _at(notes[_TYPE], str(config.get("root", notes[_ROOT])), config)
    before = _switched.set(where)
    try:
        yield
    finally:
        _switched.reset(before)


def _at(type: str, root: str, config: dict[str, Any]) -> ArtifactStore:
    root = _absolute(type, root)
    if config:
        _configs[root] = config
    return ArtifactStore(type, root, f"{root.rstrip('/')}/memoflow")


def _absolute(type: str, root: str) -> str:
    return os.path.abspath(os.path.expanduser(root)) if type == "local" else root
