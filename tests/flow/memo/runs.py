"""Runs: what flows left in a directory, written without running any, for the Client to find."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.client import core
from metaflow.datastore import FlowDataStore
from metaflow.metadata_provider import MetaDatum
from metaflow.metaflow_environment import MetaflowEnvironment
from metaflow.plugins.datastores.local_storage import LocalStorage
from metaflow.plugins.metadata_providers.local import LocalMetadataProvider

OWN = "user:tester"


class Runs:
    """The runs of flows below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / ".metaflow"
        self.data.mkdir(parents=True, exist_ok=True)

    def add(
        self,
        flow: str = "Train",
        *,
        tags: tuple[str, ...] = (),
        namespace: str = OWN,
        ok: bool | None = True,
        fits: tuple[Any, ...] = (),
        **artifacts: Any,
    ) -> str:
        """Leave a run of a flow from `start` over `fits` to `end`, with these artifacts.

        With `ok` None it is on its way, and has not come to `end`.
        """
        provider = LocalMetadataProvider(
            MetaflowEnvironment(None), SimpleNamespace(name=flow), None, None
        )
        provider.sticky_sys_tags = {namespace}
        provider._register_system_metadata = lambda *_: None  # It asks git, for each task.
        time.sleep(0.002)  # Their order is that of the millisecond in which they began.
        run = provider.new_run_id(tags=set(tags))
        store = FlowDataStore(
            flow, None, provider, storage_impl=LocalStorage, ds_root=str(self.data)
        )
        self._task(store, provider, run, "_parameters", {})
        self._task(store, provider, run, "start", {"v": 0, "_task_ok": True})
        for fit in fits:
            self._task(
                store, provider, run, "fit", {"score": fit, "_task_ok": True, "_success": True}
            )
        if ok is not None:
            left = {"_success": ok, "_task_ok": ok, **artifacts}
            self._task(store, provider, run, "end", left)
        return str(run)

    def _task(
        self, store: Any, provider: Any, run: str, step: str, artifacts: dict[str, Any]
    ) -> None:
        time.sleep(0.002)
        task = provider.new_task_id(run, step)
        datastore = store.get_task_datastore(run, step, task, attempt=0, mode="w")
        datastore.init_task()
        datastore.save_artifacts(artifacts.items())
        datastore.done()
        fields = {"attempt": "0", "ds-type": "local", "ds-root": str(self.data), "note": "a"}
        provider.register_metadata(
            run, step, task, [MetaDatum(name, value, name, []) for name, value in fields.items()]
        )


@contextmanager
def looking_at(root: Path) -> Iterator[Runs]:
    """Let the Client of this process look at the runs below a directory, as their owner."""
    runs = Runs(root)
    before = core.current_metadata, core.current_namespace
    info, place = LocalMetadataProvider._INFO, LocalStorage.datastore_root
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USER", OWN.partition(":")[2])
        core.metadata(f"local@{root}")
        core.namespace(OWN)
        try:
            yield runs
        finally:
            core.current_metadata, core.current_namespace = before
            LocalMetadataProvider._INFO, LocalStorage.datastore_root = info, place
