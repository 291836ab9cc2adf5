"""The worker in process: a step that runs is recorded, and the next such task replays it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from metaflow.metaflow_current import current

from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo import scheduler, shadow
from memoflow.flow.memo.lookup import MissError
from memoflow.flow.memo.worker import Task
from memoflow.kinds.decision import SHADOW, Decision
from memoflow.units import span


class Attempt:
    """A task of `fit` as Metaflow runs one, each in what is another process for memoflow."""

    def __init__(self, host: Any, started: Any, task: str = "2", **options: Any) -> None:
        self.host = host
        self.id = task
        self.flow = type(host.flow)(use_cli=False)
        self.output = host.output("fit", task)
        bound = TaskArtifacts(self.output)
        bound.bind_all_of(started)
        vars(self.flow).update(_datastore=self.output, _foreach_stack=[], _transition=None)
        vars(self.flow).update(_current_step="fit", _foreach_var=None, _foreach_num_splits=None)
        self.task = Task(
            host.memoized(**options),
            host.new_session(),
            flow=self.flow,
            output=self.output,
            metadata=host.metadata,
            datastores=[started],
            attempt=0,
        )

    def run(self, *, fails: bool = False) -> bool:
        """Run the step, and return whether it ran, not replayed."""
        replayed = self.task.pre_step("fit", self.flow, None)
        error = None
        if replayed is not None:
            replayed(self.flow)
        elif fails:
            error = ValueError("it fails")
        else:
            self.flow.fit()
        self.task.post_step("fit", self.flow, error)
        self.task.settled()
        if error is not None:
            self.task.failed()
        self.output.persist(self.flow)
        self.task.finished(not fails)
        return replayed is None

    @property
    def noted(self) -> dict[str, Any]:
        fields: dict[str, Any] = self.host.metadata.fields.get(self.id, {})
        return fields


def test_a_step_runs_once_for_equal_inputs(host):
    started = host.left(x=1)
    assert Attempt(host, started, "2").run()
    again = Attempt(host, started, "3")
    assert not again.run()
    assert TaskArtifacts(again.output).load("y") == 2


def test_a_replay_goes_on_as_the_step_did(host):
    started = host.left(x=1)
    Attempt(host, started, "2").run()
    again = Attempt(host, started, "3")
    again.run()
    assert again.flow._transition == (["end"], None)


def test_a_replay_is_noted_with_its_origin(host):
    started = host.left(x=1)
    first = Attempt(host, started, "2")
    first.run()
    again = Attempt(host, started, "3")
    again.run()
    assert again.noted["memo-origin"] == "Train/1/fit/2"
    assert again.noted["memo-key"] == first.noted["memo-key"]


def test_current_memo_tells_of_the_hit(host):
    started = host.left(x=1)
    Attempt(host, started, "2").run()
    Attempt(host, started, "3")
    assert current.memo.hit
    assert current.memo.origin == "Train/1/fit/2"


def test_what_the_step_read_decides(host):
    Attempt(host, host.left(x=1, z=1), "2").run()
    assert not Attempt(host, host.left(task="5", x=1, z=2), "3").run()
    assert Attempt(host, host.left(task="6", x=2, z=2), "4").run()


def test_a_step_that_fails_leaves_no_result(host):
    started = host.left(x=1)
    Attempt(host, started, "2").run(fails=True)
    assert Attempt(host, started, "3").run()


def test_read_only_records_nothing_and_says_so(host):
    started = host.left(x=1)
    attempt = Attempt(host, started, "2", mode="read-only")
    attempt.run()
    assert "the mode is read-only" in attempt.noted["memo-decision"]
    assert Attempt(host, started, "3").run()


def test_the_time_of_each_run_is_noted_by_the_reason_for_it(host):
    started = host.left(x=1)
    Attempt(host, started, "2", mode="read-only").run()
    Attempt(host, started, "3").run()
    Attempt(host, started, "4").run()
    Attempt(host, started, "5", mode="off").run()
    Attempt(host, host.left(task="6", x=2), "7").run(fails=True)
    (cost,) = host.store.index.miss_costs()
    assert (cost.flow, cost.step, cost.reason, cost.misses) == ("Train", "fit", "first_run", 2)
    assert cost.run_s > 0


def test_only_forbids_a_miss(host):
    with pytest.raises(MissError):
        Attempt(host, host.left(x=1), mode="only")


def test_too_fast_a_step_is_not_kept(host):
    started = host.left(x=1)
    attempt = Attempt(host, started, "2", min_time=timedelta(hours=1), min_time_text="1h")
    attempt.run()
    assert "min_time" in attempt.noted["memo-decision"]
    assert "memo-key" not in attempt.noted


def test_the_scheduler_s_miss_is_not_looked_up_again(host, monkeypatch):
    started = host.left(x=1)
    launched = host.launched()
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    Attempt(host, started, "9").run()
    monkeypatch.setenv("MEMOFLOW_TOLD", launched.env["MEMOFLOW_TOLD"])
    assert Attempt(host, started, "2", single_flight=False).run()


def test_a_result_that_came_meanwhile_is_found_with_the_lock(host, monkeypatch):
    started = host.left(x=1)
    launched = host.launched()
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    Attempt(host, started, "9").run()
    monkeypatch.setenv("MEMOFLOW_TOLD", launched.env["MEMOFLOW_TOLD"])
    assert not Attempt(host, started, "2").run()


def test_an_audited_hit_runs_and_is_compared(host):
    started = host.left(x=1)
    Attempt(host, started, "2").run()
    audited = Attempt(host, started, "3", audit=1.0)
    assert audited.run()
    assert audited.noted["memo-audit"] == "the same as Train/1/fit/2"
    assert audited.noted["memo-saved"] == "0.0"


def test_a_run_that_goes_on_without_the_store_runs_the_step(host, monkeypatch):
    monkeypatch.setenv("MEMOFLOW_TOLD", '{"off": true}')
    attempt = Attempt(host, host.left(x=1))
    assert attempt.run()
    assert attempt.noted == {}


def test_a_task_in_shadow_mode_runs_and_is_compared(host):
    started = host.left(x=1)
    first = Attempt(host, started, "2")
    first.run()
    shadowed = Attempt(host, started, "3", mode="shadow")
    assert not current.memo.hit
    assert shadowed.run()
    decision = Decision.parse(shadowed.noted["memo-decision"])
    assert decision is not None
    assert decision.outcome == SHADOW
    assert decision.line.startswith("would hit Train/1/fit/2, ")
    assert decision.line.endswith("would be saved: the same")
    assert "memo-origin" not in shadowed.noted
    assert "memo-key" not in shadowed.noted
    counted, told = shadow.counted([("3", decision), ("4", None)]), decision.saved_s
    assert counted == f"1 of 2 tasks would hit, {span(told)} would be saved, all the same"


def test_a_task_in_shadow_mode_without_a_result_is_recorded(host):
    started = host.left(x=1)
    assert Attempt(host, started, "2", mode="shadow").run()
    assert not Attempt(host, started, "3").run()


def test_a_task_in_shadow_mode_that_raises_says_so(host):
    started = host.left(x=1)
    Attempt(host, started, "2").run()
    failed = Attempt(host, started, "3", mode="shadow")
    failed.run(fails=True)
    assert "but raised ValueError: it fails" in failed.noted["memo-decision"]
    assert not Attempt(host, started, "4").run()
