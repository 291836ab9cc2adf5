"""A lookup in process: which result a task finds, and why none."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from memoflow.fingerprint import Part
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo.lookup import LookupResult, lease_keys, look_up
from memoflow.kinds.decision import HIT, Reason
from tests.flow.memo.conftest import GOES_ON


@pytest.fixture
def looked_up(host) -> Any:
    def looked_up(memoized: Any, started: Any, **how: Any) -> LookupResult:
        return look_up(memoized, host.inputs(memoized, started), host.session, **how)

    return looked_up


def test_a_step_without_results_is_a_first_run(host, looked_up):
    assert looked_up(host.memoized(), host.left(x=1)).decision.reason is Reason.FIRST_RUN


def test_equal_inputs_hit(host, record, looked_up):
    started = host.left(x=1)
    ref = record(host.memoized(), started, "x")
    found = looked_up(host.memoized(), started)
    assert found.entry.ref == ref
    assert found.decision.outcome == HIT
    assert [part.name for part in found.read] == ["x"]


def test_another_value_of_what_the_step_read_misses(host, record, looked_up):
    record(host.memoized(), host.left(x=1), "x")
    host.session.log.began = time.time() + 60  # so that the result is from a run before
    found = looked_up(host.memoized(), host.left(task="5", x=2))
    assert found.entry is None
    assert found.decision.reason is Reason.INPUT_CHANGED


def test_another_value_of_what_it_did_not_read_hits(host, record, looked_up):
    record(host.memoized(), host.left(x=1, z=1), "x")
    assert looked_up(host.memoized(), host.left(task="5", x=1, z=2)).entry is not None


def test_each_read_set_is_tried(host, record, looked_up):
    record(host.memoized(), host.left(x=1, z=1), "x")
    record(host.memoized(), host.left(task="5", x=2, z=2), "x", "z")
    assert looked_up(host.memoized(), host.left(task="6", x=2, z=2)).entry is not None
    assert looked_up(host.memoized(), host.left(task="7", x=1, z=5)).entry is not None


def test_a_read_set_that_another_process_left_meanwhile_is_tried(host, record, looked_up):
    record(host.memoized(), host.left(x=1, z=1), "x")
    assert looked_up(host.memoized(), host.left(task="5", x=1, z=1)).entry is not None
    record(host.memoized(), host.left(task="6", x=2, z=2), "x", "z")
    assert looked_up(host.memoized(), host.left(task="7", x=2, z=2)).entry is not None


def test_a_result_that_another_process_forgot_is_no_hit(host, record, looked_up):
    started = host.left(x=1)
    ref = record(host.memoized(), started, "x")
    assert looked_up(host.memoized(), started).entry is not None
    host.new_session().context.store.forget(ref.key)
    assert looked_up(host.memoized(), started).entry is None


def test_listed_inputs_decide_alone(host, record, looked_up):
    memoized = host.memoized(inputs=("z",))
    record(memoized, host.left(x=1, z=1), "z")
    assert looked_up(memoized, host.left(task="5", x=2, z=1)).entry is not None


def test_a_result_older_than_the_ttl_is_expired(host, record, looked_up):
    started = host.left(x=1)
    record(host.memoized(), started, "x")
    found = looked_up(host.memoized(ttl=timedelta(0)), started)
    assert found.decision.reason is Reason.EXPIRED


def test_a_variable_that_is_another_now_is_named(host, record, looked_up):
    started = host.left(x=1)
    record(host.memoized(), started, "x", reads=(Part("environment", "MODE", "sha256:0"),))
    found = looked_up(host.memoized(), started, environment={"MODE": "fast"})
    assert found.decision.reason is Reason.OUTSIDE_CHANGED
    assert [each.name for each in found.decision.differences] == ["MODE"]


def test_a_file_of_the_machine_of_the_task_is_for_the_worker_to_look_at(host, record, looked_up):
    started = host.left(x=1)
    record(host.memoized(), started, "x", reads=(Part("file", "/data.csv", "sha256:0"),))
    assert looked_up(host.memoized(), started, is_here=False).undecided


def test_an_output_that_is_gone_everywhere_misses_and_is_forgotten(host, record, looked_up):
    started = host.left(x=1)
    ref = record(host.memoized(), started, "x")
    for path in host.files_of(host.left("fit", "9", y=3), "y"):
        path.unlink()
    assert looked_up(host.memoized(), started).decision.reason is Reason.DAMAGED
    assert host.store.find(ref.key) is None


@pytest.mark.parametrize("dry", [False, True])
def test_a_result_that_leads_to_no_step_misses_and_only_a_dry_lookup_keeps_it(
    host, record, looked_up, monkeypatch, dry
):
    monkeypatch.setitem(GOES_ON, "_transition", [["nowhere"], None])
    started = host.left(x=1)
    ref = record(host.memoized(), started, "x")
    assert looked_up(host.memoized(), started, dry=dry).decision.reason is Reason.DAMAGED
    assert (host.store.find(ref.key) is not None) is dry


def test_a_refresh_looks_nothing_up(host, record, looked_up):
    started = host.left(x=1)
    record(host.memoized(), started, "x")
    assert looked_up(host.memoized(refresh=True), started).decision.reason is Reason.REFRESHED


def test_memo_off_looks_nothing_up(host, looked_up):
    assert looked_up(host.memoized(mode="off"), host.left(x=1)).decision.reason is Reason.OFF


def test_without_known_inputs_it_is_undecided(host):
    assert look_up(host.memoized(), None, host.session).undecided


def test_a_value_that_cannot_be_loaded_is_undecided(host, record, looked_up):
    record(host.memoized(), host.left(x=1), "x")
    started = host.left(task="5", x=2)
    TaskArtifacts(started).bind("x", "0" * 40, {"size": 5})
    assert looked_up(host.memoized(), started).undecided


def test_equal_tasks_lease_equal_keys_before_anything_is_known(host):
    one, two = (host.left(task=task, x=1) for task in "56")
    keys = [_lease_keys(host, started) for started in (one, two)]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 1


def test_tasks_that_read_the_same_lease_a_key_in_common(host, record):
    record(host.memoized(), host.left(x=0), "x")
    one, two = host.left(task="5", x=1, z=1), host.left(task="6", x=1, z=2)
    first, second = _lease_keys(host, one), _lease_keys(host, two)
    assert first[0] != second[0]
    assert first[1] == second[1]


def _lease_keys(host: Any, started: Any) -> list[Any]:
    memoized = host.memoized()
    candidates = host.new_session().context.candidates(memoized.code_key, memoized.mask)
    return list(lease_keys(memoized, host.inputs(memoized, started), candidates))
