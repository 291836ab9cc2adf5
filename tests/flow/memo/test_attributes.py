"""The names that a running step reads and sets, as its flow's class answers for them."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from metaflow.metaflow_current import current

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo.attributes import AttributeTracker, unstable
from memoflow.flow.memo.inputs import FlowShape


@pytest.fixture
def tracked(host) -> Callable[..., AttributeTracker]:
    """Run an act on a flow that begins with these artifacts, tracked; return the tracker."""

    def tracked(act: Callable[[Any], object], **artifacts: Any) -> AttributeTracker:
        flow = type(host.flow)(use_cli=False)
        output = host.output()
        TaskArtifacts(output).bind_all_of(host.left(**artifacts))
        vars(flow).update(_datastore=output, _foreach_stack=[], _transition=None)
        tracker = AttributeTracker(flow, {}, FlowShape.of(host.flow))
        with tracking(tracker):
            act(flow)
        return tracker

    return tracked


@contextmanager
def tracking(tracker: AttributeTracker) -> Iterator[None]:
    tracker.start()
    try:
        yield
    finally:
        tracker.stop()


def test_a_name_that_is_read_is_a_read(tracked):
    assert list(tracked(lambda flow: flow.x + flow.y, x=1, y=2, z=3).reads) == ["x", "y"]


def test_a_name_that_the_step_set_before_is_no_read(tracked):
    def act(flow: Any) -> None:
        flow.x = 2
        assert flow.x == 2

    tracker = tracked(act, x=1)
    assert list(tracker.reads) == []
    assert tracker.writes == {"x"}


def test_a_name_that_is_changed_is_read_and_set(tracked):
    def act(flow: Any) -> None:
        flow.x += 1

    tracker = tracked(act, x=1)
    assert (list(tracker.reads), tracker.writes) == (["x"], {"x"})


def test_a_name_that_is_missing_is_a_read(tracked):
    assert list(tracked(lambda flow: getattr(flow, "absent", None)).reads) == ["absent"]


def test_a_method_of_the_flow_is_no_read(tracked):
    assert list(tracked(lambda flow: flow.fit).reads) == []


def test_the_whole_of_a_flow_makes_its_reads_unknowable(tracked):
    assert tracked(lambda flow: vars(flow)).blind


def in_a_fork_without_room(act: Callable[[], object]) -> None:
    """Run in a child whose files can take no byte more, as on a full disk."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        act()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_a_read_in_a_fork_counts(tracked):
    def act(flow: Any) -> None:
        child = os.fork()
        if child == 0:
            _ = flow.x
            os._exit(0)
        os.waitpid(child, 0)

    tracker = tracked(act, x=1, y=2)
    assert (list(tracker.reads), list(tracker.blind)) == (["x"], [])


def test_a_fork_that_cannot_report_its_reads_makes_them_unknowable(tracked):
    tracker = tracked(lambda flow: in_a_fork_without_room(lambda: flow.x), x=1)
    assert list(tracker.blind) == ["a fork that could not report its reads"]


def test_what_is_set_around_the_class_is_noticed(tracked):
    assert tracked(lambda flow: object.__setattr__(flow, "y", 1)).writes == {"y"}


def test_metaflow_s_own_reads_are_quiet(tracked, host):
    def act(flow: Any) -> None:
        from memoflow.flow.memo import attributes

        with attributes._watch.quiet():
            assert flow.x == 1

    assert list(tracked(act, x=1).reads) == []


def test_a_property_of_current_is_a_read(tracked):
    assert list(tracked(lambda flow: current.run_id).reads) == ["current.run_id"]


def test_what_a_tool_of_current_heard_counts_while_the_step_runs(host):
    tracker = AttributeTracker(host.flow, {}, FlowShape.of(host.flow))
    tracker.hear("current.checkpoint")
    assert tracker.reads == {}
    with tracking(tracker):
        tracker.hear("current.checkpoint")
    assert list(tracker.reads) == ["current.checkpoint"]


def test_only_what_each_run_has_anew_is_unstable():
    reads = dict.fromkeys(["x", "current.run_id", "current.username", "script_name"])
    assert unstable(reads) == ["current.run_id", "script_name"]
