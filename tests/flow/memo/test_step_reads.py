"""The external reads of a running step: files, variables and what it wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from memoflow.flow.memo.attributes import AttributeTracker
from memoflow.flow.memo.inputs import FlowShape
from memoflow.flow.memo.step_reads import StepReads, StepTracker, TrackedStep
from tests.said import kept_in


@pytest.fixture
def followed(host) -> Callable[..., StepReads]:
    """Run an act as a step of the flow, and return its external reads."""

    def followed(act: Callable[[], object], **options: Any) -> StepReads:
        memoized = host.memoized(**options)
        watch = AttributeTracker(host.flow, {}, FlowShape.of(host.flow))
        tracker = StepTracker(memoized, host.session.context, watch)
        tracker.start()
        try:
            act()
        finally:
            tracker.stop()
        return tracker.found

    return followed


def names(found: StepReads, kind: str) -> list[str]:
    return [os.path.basename(part.name) for part in found.reads if part.kind == kind]


def test_a_variable_that_the_step_asked_for_is_a_read(followed, monkeypatch):
    monkeypatch.setenv("RATE_OF_STEP", "1")
    assert "RATE_OF_STEP" in names(followed(lambda: os.environ["RATE_OF_STEP"]), "environment")


def test_a_variable_that_is_ignored_is_none(followed, monkeypatch):
    monkeypatch.setenv("RATE_OF_STEP", "1")
    found = followed(
        lambda: os.environ["RATE_OF_STEP"], ignore=frozenset(["os.environ['RATE_OF_STEP']"])
    )
    assert "RATE_OF_STEP" not in names(found, "environment")


def test_nothing_that_came_before_or_after_is_a_read(followed, monkeypatch):
    monkeypatch.setenv("RATE_OF_STEP", "1")
    assert os.environ["RATE_OF_STEP"]
    found = followed(lambda: None)
    assert os.environ["RATE_OF_STEP"]
    assert "RATE_OF_STEP" not in names(found, "environment")


def test_a_step_that_failed_has_no_digests_computed(host):
    watch = AttributeTracker(host.flow, {}, FlowShape.of(host.flow))
    tracker = StepTracker(host.memoized(), host.session.context, watch)
    tracker.start()
    tracker.stop(failed=True)
    assert tracker._found is None


def test_a_tracked_step_notes_what_it_leaves(host):
    flow = type(host.flow)(use_cli=False)
    vars(flow).update(_datastore=host.output(), _transition=(["end"], None), y=3)
    tracked = TrackedStep(
        host.memoized(),
        host.session.context,
        flow=flow,
        inputs=None,
        say=kept_in(host.said),
    )
    tracked.start()
    tracked.stop(failed=False)
    tracked.close()
    assert tracked.left.next_step["_transition"] == [["end"], None]
    assert tracked.left.all_looked_at
    assert tracked.reads is not None
    assert host.said == []
