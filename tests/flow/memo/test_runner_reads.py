"""Other flows that a step starts: nobody can tell what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from metaflow import Deployer, NBRunner, Runner
from metaflow.runner.deployer import DeployedFlow

from memoflow.flow.memo.runner_reads import watching


def told(step: Callable[[], Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    with watching(lambda name, reason: found.append((name, reason))):
        step()
    return sorted(set(found))


@pytest.fixture
def flow(tmp_path: Path) -> str:
    path = tmp_path / "other.py"
    path.write_text(
        "from metaflow import FlowSpec, step\n"
        "class Other(FlowSpec):\n"
        "    @step\n"
        "    def start(self):\n"
        "        self.next(self.end)\n"
        "    @step\n"
        "    def end(self):\n"
        "        pass\n"
        "if __name__ == '__main__':\n"
        "    Other()\n"
    )
    return str(path)


def test_a_runner_is_told(flow: str) -> None:
    assert told(lambda: Runner(flow)) == [("Runner", "starts another flow with Runner")]


def test_a_runner_made_before_is_told_when_it_runs(flow: str) -> None:
    runner = Runner(flow)
    with pytest.raises(Exception, match="nope"):
        told(lambda: runner.run(nope=1))
    found: list[str] = []
    with watching(lambda name, reason: found.append(name)), pytest.raises(Exception, match="nope"):
        runner.run(nope=1)
    assert found == ["Runner"]


def test_a_deployer_is_told(flow: str) -> None:
    assert told(lambda: Deployer(flow)) == [("Deployer", "deploys another flow with Deployer")]


def test_a_runner_of_a_notebook_is_told_by_its_own_name() -> None:
    def step() -> None:
        with suppress(Exception):  # There is no notebook, as whatever notices says.
            NBRunner(object)

    assert [name for name, _ in told(step)] == ["NBRunner"]


def test_asking_for_deployed_flows_is_told() -> None:
    def step() -> None:
        with pytest.raises(ValueError, match="nope"):
            DeployedFlow.from_deployment("x", impl="nope")

    assert [name for name, _ in told(step)] == ["DeployedFlow"]


def test_nothing_is_left_on_the_classes(flow: str) -> None:
    before = dict(vars(Runner)), dict(vars(DeployedFlow))
    told(lambda: Runner(flow))
    assert (dict(vars(Runner)), dict(vars(DeployedFlow))) == before
