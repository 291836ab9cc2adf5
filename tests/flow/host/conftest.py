"""A real flow, with the real datastore and metadata of Metaflow, in a folder of the test's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow import FlowSpec, Parameter, step
from metaflow.datastore import FlowDataStore
from metaflow.metaflow_environment import MetaflowEnvironment
from metaflow.plugins.datastores.local_storage import LocalStorage
from metaflow.plugins.metadata_providers.local import LocalMetadataProvider

from tests.flow.memo.runs import looking_at


class Sweep(FlowSpec):
    """start -> fit (foreach) -> score -> join -> end, with a parameter and a constant."""

    alpha = Parameter("alpha", default=1)
    limit = 3

    @step
    def start(self) -> None:
        self.rates = [0.1, 0.2]
        self.next(self.fit, foreach="rates")

    @step
    def fit(self) -> None:
        self.next(self.score)

    @step
    def score(self) -> None:
        self.next(self.join)

    @step
    def join(self, inputs: Any) -> None:
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


class World:
    """The datastore of `Sweep`, and tasks in it that no process has run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.metadata = LocalMetadataProvider(
            MetaflowEnvironment(None), SimpleNamespace(name="Sweep"), None, None
        )
        self.metadata.sticky_sys_tags = {"user:tester"}
        self.metadata._register_system_metadata = lambda *_: None  # It asks git, for each task.
        self.run = self.metadata.new_run_id()
        self.datastore = FlowDataStore(
            "Sweep", None, self.metadata, storage_impl=LocalStorage, ds_root=str(root)
        )

    def writer(self, step: str) -> Any:
        """Return the datastore of a task that runs."""
        task = self.metadata.new_task_id(self.run, step)
        store = self.datastore.get_task_datastore(self.run, step, task, attempt=0, mode="w")
        store.init_task()
        return store

    def task(self, step: str, **artifacts: Any) -> Any:
        """Leave a finished task with these artifacts, and return its datastore."""
        store = self.writer(step)
        store.save_artifacts(iter(artifacts.items()))
        store.done()
        return self.reopened(store)

    def reopened(self, store: Any) -> Any:
        """Return the datastore of a finished task, as another process would read it."""
        return self.datastore.get_task_datastore(self.run, store.step_name, store.task_id)


@pytest.fixture
def flow() -> type[FlowSpec]:
    return Sweep


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with looking_at(tmp_path):
        yield World(tmp_path / ".metaflow")
