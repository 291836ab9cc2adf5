"""The tracked step in process: the names, files and values of one that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo.step_reads import TrackedStep
from tests.said import kept_in

LICENSE = Path(__file__).parents[3] / "LICENSE"  # Made before this process, as inputs are.
SAVE = "checkpoint/Train/fit/0f1e2d3c4b5a6978/0f1e2d3c4b5a6978/00000001-0f1e2d3c"


class Running:
    """A task of `fit` that is about to run."""

    def __init__(self, host: Any, **artifacts: Any) -> None:
        self.flow = type(host.flow)(use_cli=False)
        output = host.output()
        TaskArtifacts(output).bind_all_of(host.left(**artifacts))
        vars(self.flow).update(_datastore=output, _foreach_stack=[], _transition=None)
        vars(self.flow).update(_current_step="fit", _foreach_var=None, _foreach_num_splits=None)
        self.said: list[str] = []
        self.tracked = TrackedStep(
            host.memoized(),
            host.session.context,
            flow=self.flow,
            inputs=None,
            say=kept_in(self.said),
        )

    def run(self, body: Any, *, failed: bool = False) -> TrackedStep:
        self.tracked.start()
        try:
            body(self.flow)
        finally:
            self.tracked.stop(failed=failed)
            self.tracked.close()
        return self.tracked


@pytest.fixture
def running(host) -> Running:
    return Running(host, x=1, z=2)


def fit(flow: Any) -> None:
    flow.y = flow.x + 1
    flow.next(flow.end)


def test_inputs_are_known_by_name(running):
    attributes = running.run(fit).attributes
    assert "x" in attributes.reads
    assert "z" not in attributes.reads
    assert "y" in attributes.writes


def test_the_next_step_is_kept_from_memory(running):
    left = running.run(fit).left
    assert left.next_step["_transition"] == [["end"], None]
    assert left.run_time_s >= 0


def test_files_are_among_the_other_reads(running):
    def reads_a_file(flow: Any) -> None:
        flow.y = LICENSE.read_text()
        flow.next(flow.end)

    found = running.run(reads_a_file).reads
    assert "LICENSE" in {Path(part.name).name for part in found.reads if part.kind == "file"}


def test_saves_that_the_outputs_name_are_found(running):
    def saves(flow: Any) -> None:
        flow.net = {"best": [SAVE]}
        flow.next(flow.end)

    left = running.run(saves).left
    assert left.refers_to == {SAVE}
    assert left.all_looked_at


def test_paths_that_the_outputs_name_are_found(running, tmp_path):
    def writes(flow: Any) -> None:
        flow.path = str(tmp_path / "out.bin")
        flow.next(flow.end)

    assert str(tmp_path / "out.bin") in running.run(writes).left.named


def test_a_step_that_fails_leaves_nothing_to_record(running):
    left = running.run(fit, failed=True).left
    assert left.next_step is None
    assert left.refers_to == frozenset()


def test_reads_after_the_step_do_not_count(running):
    tracked = running.run(fit)
    _ = running.flow.z
    assert "z" not in tracked.attributes.reads
