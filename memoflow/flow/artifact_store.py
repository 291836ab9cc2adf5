"""Artifact store: the place of checkpoints, models and snapshots, and switching it.

Imported whenever Metaflow is, so what a store is made of is imported when one is opened.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any

from metaflow import metaflow_config
from metaflow.decorators import FlowDecorator
from metaflow.exception import MetaflowException
from metaflow.metadata_provider.metadata import MetaDatum

from memoflow.dataclass import dataclass
from memoflow.flow.host import command_line
from memoflow.flow.task import launch_info
from memoflow.flow.task.process import ARTIFACT_STORE as VARIABLE

if TYPE_CHECKING:
    from memoflow.kinds.legacy import Legacy
    from memoflow.store import Store

# As metaflow-checkpoint names them, in the tags of a run and the metadata of a task.
_TYPE, _ROOT = "artifact-store-ds-type", "artifact-store-ds-root"


class ArtifactStoreException(MetaflowException):
    headline = "Artifact store"


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
    from memoflow.storages import backend_of
    from memoflow.store import open_store

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
    from memoflow.kinds.legacy import Legacy
    from memoflow.storages import backend_of
    from memoflow.units import flag

    allowed = flag("METAFLOW_MEMOFLOW_LEGACY", metaflow_config.MEMOFLOW_LEGACY)
    backend = backend_of(where.type, where.root, _configs.get(where.root))
    return Legacy(backend, is_trusted=allowed or not where.store.is_signed)


# Of datastores with a configuration of their own, by root: it can hold secrets, so it is neither
# written down nor told to subprocesses.
_configs: dict[str, dict[str, Any]] = {}


def of_datastore(type: str, root: str) -> ArtifactStore:
    """Return the store of a datastore of Metaflow's; METAFLOW_MEMOFLOW_ROOT puts it elsewhere."""
    from memoflow.storages import folder_of

    if type == "local":
        root = os.path.abspath(os.path.expanduser(root))
    return ArtifactStore(type, root, folder_of(type, root))


def default() -> ArtifactStore:
    """Return the store of the datastore that Metaflow is configured to use.

    In a task and in its subprocesses that is the task's.
    """
    from memoflow.storages import configured

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
    from memoflow.storages import check

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


def metadata_of_flow(attempt: int) -> list[MetaDatum]:
    """Return a task's notes about a store of its flow's own, for `artifact_store_from`."""
    if _of_flow is None:
        return []
    tags = [f"attempt_id:{attempt}"]
    return [
        MetaDatum(field, value, "mf-checkpoint-artifact-store", tags)
        for field, value in ((_TYPE, _of_flow.type), (_ROOT, _of_flow.root))
    ]


class ArtifactStoreDecorator(FlowDecorator):
    """Keep a flow's checkpoints, models and snapshots in another datastore than its artifacts.

    Parameters
    ----------
    type : str
        A type of datastore: "local", "s3", "azure" or "gs".
    config : Dict[str, Any] or Callable[[], Dict[str, Any]]
        "root", the datastore's root, and for S3 what goes to boto3: "client_params",
        "session_vars" and "role_arn". A function is called in each process that needs it, so that
        a secret is read where it is used. Nothing but type and root is ever written down.
    """

    name = "with_artifact_store"
    defaults = {"type": None, "config": None}

    def flow_init(
        self,
        flow: Any,
        graph: Any,
        environment: Any,
        flow_datastore: Any,
        metadata: Any,
        logger: Any,
        echo: Any,
        options: Any,
    ) -> None:
        global _of_flow
        _of_flow = self._where()
        metadata.add_sticky_tags(sys_tags=[f"{_TYPE}:{_of_flow.type}", f"{_ROOT}:{_of_flow.root}"])

    def _where(self) -> ArtifactStore:
        from memoflow.errors import MemoflowError
        from memoflow.storages import check

        type, config = self.attributes["type"], self.attributes["config"]
        if callable(config):
            config = config()
        if not isinstance(type, str) or not isinstance(config, dict) or not config.get("root"):
            raise ArtifactStoreException(
                "@with_artifact_store takes a type, such as 'local', and a config with the 'root' "
                "of that datastore: a dict, or a function that returns one"
            )
        where = _at(type, str(config["root"]))
        _configs[where.root] = config
        try:
            check(where.type, where.folder)
        except MemoflowError as error:
            raise ArtifactStoreException(f"@with_artifact_store: {error}") from error
        return where


@contextlib.contextmanager
def artifact_store_from(
    run: Any = None, task: Any = None, config: dict[str, Any] | None = None
) -> Iterator[None]:
    """Use the store that a run or task kept its checkpoints and models in, within the block.

    `config` overrides parts of its configuration, such as "root". For a run without
    `@with_artifact_store` that is the default store. ValueError unless one of both is given.
    """
    if (run is None) == (task is None):
        raise ValueError("artifact_store_from takes either run= or task=, and not both")
    noted = _tags(run) if run is not None else dict(task.metadata_dict)
    if _TYPE in noted and _ROOT in noted:
        where = _at(noted[_TYPE], str((config or {}).get("root", noted[_ROOT])))
        if config:
            _configs[where.root] = config
    else:
        where = default()
    before = _switched.set(where)
    try:
        yield
    finally:
        _switched.reset(before)


def _at(type: str, root: str) -> ArtifactStore:
    if type == "local":
        root = os.path.abspath(os.path.expanduser(root))
    return ArtifactStore(type, root, f"{root.rstrip('/')}/memoflow")


def _tags(run: Any) -> dict[str, str]:
    return dict(tag.partition(":")[::2] for tag in run.system_tags)
