"""The hits of a team, from the metadata of its runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.fingerprint import Fingerprint
from memoflow.flow.memo import team
from memoflow.flow.memo.team import TeamTally
from memoflow.kinds import memo
from memoflow.store import Payload, Store, open_store
from tests.flow.memo.noted import HIT, NotedRuns, clone, miss

MONTH = timedelta(days=30)
SAVED = HIT | {"memo-saved": "2.5"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with results of a flow `Train`, and of one that left no metadata."""
    made = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    for flow in ("Train", "Gone"):
        made.save(memo.code_key(flow, "fit", Fingerprint.of(())) / "code", Payload())
    return made


def test_hits_misses_and_time_are_counted_by_user_and_step(noted: NotedRuns, store: Store) -> None:
    for user, tasks in (("ann", [SAVED, SAVED, miss()]), ("bob", [miss()]), ("ann", [SAVED])):
        run = noted.run(user=user)
        for fields in tasks:
            noted.task(run, "fit", fields)
    found = team.collect(store, MONTH)
    assert found.tallies == {
        ("ann", "Train", "fit"): TeamTally(3, 1, 7.5),
        ("bob", "Train", "fit"): TeamTally(0, 1),
    }
    assert found.runs == {"ann": 2, "bob": 1}
    assert found.by_step == {("Train", "fit"): TeamTally(3, 2, 7.5)}
    assert found.total == TeamTally(3, 2, 7.5)


def test_tasks_without_a_decision_and_clones_are_neither(noted: NotedRuns, store: Store) -> None:
    run = noted.run()
    noted.task(run, "fit")
    noted.task(run, "fit", clone("7", "1"))
    noted.task(run, "fit", {"memo-decision": "not JSON"})
    found = team.collect(store, MONTH)
    assert found.tallies == {}
    assert found.by_user == {"tester": TeamTally()}


def test_a_hit_that_tells_no_time_is_counted_as_one(noted: NotedRuns, store: Store) -> None:
    run = noted.run()
    noted.task(run, "fit", HIT)
    noted.task(run, "fit", HIT | {"memo-saved": "long"})
    assert team.collect(store, MONTH).total == TeamTally(hits=2, untimed=2)


def test_flows_that_the_store_does_not_know_are_not_read(noted: NotedRuns, store: Store) -> None:
    noted.task(noted.run("Other"), "fit", SAVED)
    assert team.collect(store, MONTH).runs == {}


def test_runs_from_before_are_not_read(noted: NotedRuns, store: Store) -> None:
    noted.task(noted.run(), "fit", SAVED)
    assert team.collect(store, timedelta(milliseconds=1)).runs == {}


def test_of_more_runs_than_the_most_the_latest_are_read(noted: NotedRuns, store: Store) -> None:
    noted.task(noted.run(user="ann"), "fit", SAVED)
    for _ in range(2):
        noted.task(noted.run(user="bob"), "fit", SAVED)
    found = team.collect(store, MONTH, most_runs=2)
    assert (found.runs, found.left_out) == ({"bob": 2}, 1)
    assert found.total.hits == 2


def test_a_run_takes_one_request_and_a_flow_two(service: NotedRuns, store: Store) -> None:
    assert service.service is not None
    for _ in range(3):
        run = service.run()
        for step in ("start", "fit", "fit", "end"):
            service.task(run, step, SAVED)
    service.service.requests.clear()
    assert team.collect(store, MONTH).total.hits == 12
    assert service.service.requests == {
        "GET /flows/*": 2,  # One of them is gone.
        "GET /flows/*/runs": 1,
        "GET /flows/*/runs/*/metadata": 3,
    }
