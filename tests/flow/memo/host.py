"""Host: a flow's datastore, its finished tasks and Metaflow's callers, without any run.

The datastore and the flow are Metaflow's own; the provider of metadata, the task of the runtime and
its command line are fakes that hold what they are told.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from metaflow import FlowSpec, Parameter, step
from metaflow.datastore import FlowDataStore
from metaflow.plugins.datastores.local_storage import LocalStorage

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo.context import Session
from memoflow.flow.memo.inputs import InputDigests
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.flow.memo.options import MemoizeOptions
from memoflow.store import open_store


class Train(FlowSpec):
    """A flow whose step `fit` is memoized."""

    alpha = Parameter("alpha", default=1)

    @step
    def start(self):
        self.next(self.fit)

    @step
    def fit(self):
        self.y = self.x + 1
        self.next(self.end)

    @step
    def end(self):
        pass


class Metadata:
    """A provider of metadata: what tasks registered, by their ids."""

    TYPE = "local"
    sticky_tags: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, Any]] = {}
        self.tags: set[str] = set()  # of the run

    def metadata_str(self) -> str:
        return "fake@nowhere"

    def register_metadata(self, run: str, step: str, task: str, data: list[Any]) -> None:
        self.fields.setdefault(task, {}).update({datum.field: datum.value for datum in data})

    def register_data_artifacts(self, *_: Any) -> None:
        pass

    def get_object(self, *_: Any) -> dict[str, Any]:
        return {"tags": sorted(self.tags)}

    def mutate_user_tags_for_run(
        self, flow: str, run: str, *, tags_to_add: list[str], tags_to_remove: list[str]
    ) -> None:
        self.tags = (self.tags - {*tags_to_remove}) | {*tags_to_add}


class Host:
    """One run of `Train`, as far as it has come."""

    def __init__(self, folder: Path) -> None:
        self.metadata = Metadata()
        self.datastore = FlowDataStore(
            "Train", None, self.metadata, storage_impl=LocalStorage, ds_root=str(folder / "data")
        )
        self.said: list[str] = []
        self.flow: Any = Train(use_cli=False)
        self.graph = self.flow._graph
        self._folder = folder
        self.session = self.new_session()
        self.store = self.session.context.store

    def new_session(self) -> Session:
        """Return what another process would hold, with the same store."""
        session = Session(self.datastore, lambda line, **_: self.said.append(line))
        session.context.store = open_store(self._folder / "store", cache_dir=self._folder / "cache")
        return session

    def memoized(self, **options: Any) -> MemoizedStep:
        return MemoizedStep(self.flow, self.graph, "fit", MemoizeOptions(**options))

    def left(self, step: str = "start", task: str = "1", **artifacts: Any) -> Any:
        """Return the datastore of a task that has finished with these artifacts."""
        output = self.output(step, task)
        internal = {"_foreach_stack": [], "_iteration_stack": [], "_task_ok": True, "alpha": 1}
        output.save_artifacts(iter((internal | artifacts).items()))
        output.done()
        return self.datastore.get_task_datastore("1", step, task)

    def output(self, step: str = "fit", task: str = "2") -> Any:
        """Return the datastore of a task that begins."""
        output = self.datastore.get_task_datastore("1", step, task, attempt=0, mode="w")
        output.init_task()
        return output

    def files_of(self, datastore: Any, name: str) -> list[Path]:
        """Return the files with the bytes of an artifact, Metaflow's and the store's."""
        return list(self._folder.rglob(f"??/{TaskArtifacts(datastore).sha1(name)}"))

    def inputs(self, memoized: MemoizedStep, *datastores: Any) -> InputDigests:
        assert self.store is not None
        return InputDigests(
            list(datastores),
            shape=memoized.shape,
            join_type=memoized.join_type,
            frames=[],
            current=lambda name: name,
            facts=self.store.index,
            lists={},
            load_limit_bytes=1 << 20,
        )

    def launched(self, task: str = "2") -> Any:
        """Return the command line by which the runtime would start the task after `start/1`."""
        self.output("fit", task)
        runtime_task = SimpleNamespace(
            flow_name="Train",
            run_id="1",
            step="fit",
            task_id=task,
            path=f"1/fit/{task}",
            input_paths=["1/start/1"],
            split_index=None,
            clone_run_id=None,
            metadata=self.metadata,
        )
        return SimpleNamespace(task=runtime_task, env={}, get_args=lambda: ["python", "flow.py"])
