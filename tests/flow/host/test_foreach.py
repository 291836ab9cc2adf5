"""Foreach: the frames that a new task would get, as Metaflow makes them."""

from __future__ import annotations

from typing import Any

import pytest
from metaflow import FlowSpec, step

from memoflow.flow.host import foreach
from memoflow.flow.host.foreach import Foreach
from tests.flow.host.conftest import World


class Loop(FlowSpec):
    @step
    def start(self) -> None:
        self.next(self.again)

    @step
    def again(self) -> None:
        self.next({"yes": self.again, "no": self.end}, condition="more")

    @step
    def end(self) -> None:
        pass


def split(world: World) -> Any:
    """Return a finished `start` that split into two."""
    return world.task(
        "start",
        rates=[0.1, 0.2],
        _foreach_var="rates",
        _foreach_num_splits=2,
        _foreach_values=["0.1", "0.2"],
        _foreach_stack=[],
    )


def test_the_first_step_is_in_no_foreach(world: World, flow: type[FlowSpec]) -> None:
    around = Foreach.of_new_task(flow, "start", [world.task("_parameters")], None, None)
    assert (around.stack, around.iterations) == ([], [])
    assert around.metadata() == {}


def test_a_split_has_a_frame_of_its_own(world: World, flow: type[FlowSpec]) -> None:
    around = Foreach.of_new_task(flow, "fit", [split(world)], None, 1)
    (frame,) = around.stack
    assert (frame.step, frame.var, frame.num_splits, frame.index) == ("fit", "rates", 2, 1)
    assert frame.value == "0.2"
    assert around.metadata() == {
        "foreach-stack": ["rates=0.2"],
        "foreach-execution-path": "fit:1",
    }


def test_what_follows_a_split_is_in_its_foreach(world: World, flow: type[FlowSpec]) -> None:
    frames = Foreach.of_new_task(flow, "fit", [split(world)], None, 0).stack
    fit = world.task("fit", _foreach_stack=frames, _foreach_var=None)
    assert Foreach.of_new_task(flow, "score", [fit], None, None).stack == frames


def test_a_join_leaves_the_foreach(world: World, flow: type[FlowSpec]) -> None:
    start = split(world)
    scores = [
        world.task(
            "score",
            _foreach_stack=Foreach.of_new_task(flow, "fit", [start], None, index).stack,
            _foreach_var=None,
        )
        for index in range(2)
    ]
    assert Foreach.of_new_task(flow, "join", scores, "foreach", None).stack == []


def test_a_step_that_follows_itself_counts_its_rounds(world: World) -> None:
    start = world.task("start", _foreach_stack=[], _foreach_var=None)
    first = Foreach.of_new_task(Loop, "again", [start], None, None)
    assert first.iterations == [0]
    again = world.task(
        "again",
        _foreach_stack=[],
        _foreach_var=None,
        _iteration_stack=first.iterations,
    )
    assert Foreach.of_new_task(Loop, "again", [again], None, None).iterations == [1]
    assert Foreach.of_new_task(Loop, "end", [again], None, None).iterations == []


def test_a_long_path_is_cut_in_the_metadata(world: World, flow: type[FlowSpec]) -> None:
    (frame,) = Foreach.of_new_task(flow, "fit", [split(world)], None, 1).stack
    noted = Foreach([frame._replace(value="x" * 10_000)], []).metadata()
    assert "foreach-stack" not in noted
    assert noted["foreach-execution-path"] == "fit:1"


def test_a_finished_task_tells_its_frames_and_splits(world: World, flow: type[FlowSpec]) -> None:
    start = split(world)
    assert foreach.num_splits(start) == 2
    assert foreach.stack_of(start) == []


def test_a_flow_tells_the_frames_of_the_task_that_it_runs(flow: type[FlowSpec]) -> None:
    instance: Any = flow(use_cli=False)
    instance._foreach_stack = ["frame"]
    found = foreach.stack_of_flow(instance)
    found.clear()
    assert instance._foreach_stack == ["frame"]


@pytest.mark.parametrize("index", [0, 1])
def test_frames_of_one_parent_are_made_anew(world: World, flow: type[FlowSpec], index: int) -> None:
    start = split(world)
    Foreach.of_new_task(flow, "fit", [start], None, 1 - index)
    (frame,) = Foreach.of_new_task(flow, "fit", [start], None, index).stack
    assert frame.index == index
