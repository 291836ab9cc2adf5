"""A host for tests of the parts that meet Metaflow in process, and runs by their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from metaflow.metaflow_current import current

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo.lookup import MemoizedStep
from memoflow.kinds import memo
from memoflow.names import Ref
from tests.flow.memo.host import Host
from tests.flow.memo.noted import NotedRuns, noting

GOES_ON = {"_transition": [["end"], None], "_foreach_var": None, "_foreach_num_splits": None}


@pytest.fixture
def host(tmp_path, monkeypatch) -> Iterator[Host]:
    monkeypatch.delenv("MEMOFLOW_TOLD", raising=False)
    monkeypatch.delenv("MEMOFLOW_LEASES", raising=False)
    monkeypatch.setattr(current, "_flow_name", "Train", raising=False)
    monkeypatch.setattr(current, "_run_id", "1", raising=False)
    made = Host(tmp_path)
    yield made
    if made.session.context.cards is not None:
        made.session.context.cards.wait()


@pytest.fixture
def record(host) -> Callable[..., Ref]:
    """Record a result of `fit` that started from a datastore and read these names."""

    def record(memoized: MemoizedStep, started: Any, *names: str, y: int = 3, **more: Any) -> Ref:
        artifacts = TaskArtifacts(host.left("fit", "9", y=y))
        sha1 = artifacts.sha1s()["y"]
        parents = host.inputs(memoized, started)
        result = memo.Result(
            origin="Train/0/fit/9",
            run_time_s=2.0,
            artifacts={"y": host.session.context.artifacts.packed(sha1, artifacts.info("y"))},
            next_step=GOES_ON,
            inputs=tuple(map(parents.digest, names)),
            **more,
        )
        return memo.record(host.store, memoized.code_key, memoized.code.parts, result)

    return record


@pytest.fixture(params=["local", "service"])
def noted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotedRuns]:
    with noting(request.param, tmp_path) as runs:
        yield runs


@pytest.fixture
def service(tmp_path: Path) -> Iterator[NotedRuns]:
    with noting("service", tmp_path) as runs:
        yield runs
