"""Hit: the tasks that are sure to follow one, where servers are far away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.flow.host.foreach import Foreach
from memoflow.flow.memo.hit import Hit


class Ids:
    """What is expected, in place of a pool that makes it known to a service."""

    def __init__(self) -> None:
        self.expected: list[tuple[str, int, int]] = []

    def expect(self, run: str, step: str, *, at_least: int = 0, more: int = 0) -> None:
        self.expected.append((step, at_least, more))


@pytest.fixture
def answered(host, record):
    """Answer a task in a flow of three splits whose service is elsewhere."""

    def answer(
        *, split: str | None = None, steps: Any = None, resumed: str | None = None, attempt: int = 0
    ) -> Any:
        memoized = host.memoized()
        parent = host.left(x=1)
        record(memoized, parent, "x")
        found = list(host.session.context.candidates(memoized.code_key, memoized.mask).read_sets())
        inputs = tuple(host.inputs(memoized, parent).digest(name) for name in found[0])
        candidates = host.session.context.candidates(memoized.code_key, memoized.mask)
        entry = candidates.find(inputs, ask=lambda entry: ())
        if steps is not None:
            entry.next_step["_transition"] = steps
        launched = host.launched()
        launched.task.split_index, launched.task.clone_run_id = split, resumed
        host.metadata.TYPE = "service"
        host.session.task_ids = ids = Ids()
        frame = SimpleNamespace(num_splits=3, var="", value="", step="", index=1)
        Hit(
            memoized,
            host.session,
            task=launched.task,
            attempt=attempt,
            entry=entry,
            datastores=[parent],
            foreach=Foreach([frame], []),
        ).answer(launched)
        assert launched.task.answer.wait() in (0, 1)
        return ids.expected

    return answer


def test_after_a_split_the_rest_is_sure_to_come(answered):
    assert ("fit", 1, 0) in answered(split="1")


def test_the_one_step_that_follows_is_sure_to_come(answered):
    assert answered() == [("end", 0, 1)]


def test_how_many_follow_in_a_foreach_is_told_by_its_first(answered):
    assert answered(steps=[["end"], "items"]) == []


def test_in_a_resumed_run_none_is_sure(answered):
    assert answered(split="1", resumed="0") == []


def test_none_is_expected_twice_for_a_later_attempt(answered):
    assert answered(split="1", attempt=1) == []
