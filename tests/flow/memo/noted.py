"""Noted runs: runs whose tasks have metadata and nothing else, on disk or in a service."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from metaflow.client import core
from metaflow.metadata_provider import MetaDatum
from metaflow.metaflow_environment import MetaflowEnvironment
from metaflow.plugins.metadata_providers import service as service_provider
from metaflow.plugins.metadata_providers.local import LocalMetadataProvider
from metaflow.plugins.metadata_providers.service import ServiceMetadataProvider

from memoflow.kinds.decision import Decision, Reason
from tests.flow.memo.runs import looking_at
from tests.service import Service, serving

HIT = {"memo-origin": "Train/1/fit/2", "memo-key": "memo/Train/fit/a/results/b/c/0"}


def miss(reason: Reason = Reason.FIRST_RUN, detail: str = "") -> dict[str, str]:
    return {"memo-decision": Decision.miss(reason, detail).text()}


def clone(run: str, task: str) -> dict[str, str]:
    return {"origin-run-id": run, "origin-task-id": task}


class NotedRuns:
    """Writes through Metaflow's own provider; `service` is None where it keeps files."""

    def __init__(self, service: Service | None = None) -> None:
        self.service = service
        self._providers: dict[str, Any] = {}

    def run(self, flow: str = "Train", *, user: str = "tester") -> str:
        self._providers.pop(flow, None)
        time.sleep(0.002)  # The order is that of the millisecond in which they began.
        run = self._provider(flow, user).new_run_id()
        return f"{flow}/{run}"

    def task(self, run: str, step: str, fields: Mapping[str, str] | None = None) -> str:
        """Leave a task of a run that has finished with these fields, and return its pathspec."""
        time.sleep(0.002)
        flow, run_id = run.split("/")
        provider = self._provider(flow)
        task = provider.new_task_id(run_id, step)
        self.note(f"{run}/{step}/{task}", {"attempt_ok": "True", **(fields or {})})
        return f"{run}/{step}/{task}"

    def note(self, task: str, fields: Mapping[str, str]) -> None:
        time.sleep(0.002)  # On disk, the names of files have the millisecond.
        flow, run, step, task_id = task.split("/")
        data = [MetaDatum(name, value, name, ["attempt_id:0"]) for name, value in fields.items()]
        self._provider(flow).register_metadata(run, step, task_id, data)

    def _provider(self, flow: str, user: str = "tester") -> Any:
        if flow not in self._providers:
            kind = LocalMetadataProvider if self.service is None else ServiceMetadataProvider
            made = kind(MetaflowEnvironment(None), SimpleNamespace(name=flow), None, None)
            made.sticky_sys_tags = {f"user:{user}"}
            made._register_system_metadata = lambda *_: None  # It asks git, for each task.
            self._providers[flow] = made
        return self._providers[flow]


@contextmanager
def noting(kind: str, folder: Path) -> Iterator[NotedRuns]:
    """Let the Client of this process look at runs that a test makes: "local" or "service"."""
    with looking_at(folder):
        if kind == "local":
            yield NotedRuns()
            return
        with serving() as service, pytest.MonkeyPatch.context() as patch:
            patch.setattr(ServiceMetadataProvider, "_INFO", service.url)
            patch.setattr(service_provider, "SERVICE_URL", service.url)
            core.metadata(f"service@{service.url}")
            service.requests.clear()
            yield NotedRuns(service)
