"""Answers of `why` as people read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from memoflow.errors import NotFoundError, UsageError
from memoflow.fingerprint import Difference
from memoflow.flow.memo import task_results, why
from memoflow.flow.memo.run_decisions import RunDecisions, StepDecisions
from memoflow.flow.memo.why import Why
from memoflow.kinds.decision import UNKNOWN, Decision, Reason, reason_of
from memoflow.store import Store, open_store
from tests.flow.memo.noted import HIT as A_HIT
from tests.flow.memo.noted import NotedRuns, clone, noting

CODE = Difference("code", "train()", where="train.py:40", diff="--- a\n+++ b\n-1\n+2")
ALPHA = Difference("parameter", "alpha", old="0.1", new="0.2")
ITEM = Difference("input", "input", old="1", new="2")
TASK = "Sweep/18/fit/31"
HIT = Decision.hit("Sweep/17/fit/3", None)


def missed(*differences: Difference, **more: Any) -> Decision:
    return Decision.miss(reason_of(differences), differences=differences, **more)


@pytest.mark.parametrize(
    ("told", "headline"),
    [
        (Why(TASK, HIT), f"{TASK} was a hit: the result of Sweep/17/fit/3"),
        (Why(TASK, missed()), f"{TASK} was a miss: first run"),
        (
            Why(TASK, missed(CODE, ALPHA)),
            f"{TASK} was a miss: code of train() changed (train.py:40), and 1 more",
        ),
        (
            Why(TASK, Decision.miss(Reason.NEW_INPUT, "2", differences=(ITEM,))),
            f"{TASK} was a miss: new input 2",
        ),
        (Why(TASK, note="it failed"), f"{TASK} was not looked up: it failed"),
        (
            Why("Sweep/fit", HIT, like="Sweep/18"),
            "Sweep/fit would be a hit, with inputs as in Sweep/18",
        ),
        (
            Why("Sweep/fit", HIT, "alpha is 1 there, and 2 by default", like="Sweep/18"),
            "Sweep/fit would be a hit, with inputs as in Sweep/18; "
            "alpha is 1 there, and 2 by default",
        ),
        (
            Why("Sweep/fit", Decision(UNKNOWN, Reason.UNDECIDED)),
            "Sweep/fit is unknown: its inputs are known only during the run",
        ),
        (
            Why("Sweep/join", Decision(UNKNOWN, Reason.AFTER_MISS, "fit")),
            "Sweep/join is unknown: code unchanged, depends on fit (miss)",
        ),
    ],
)
def test_the_first_line_says_all(told, headline):
    assert why.lines(told)[0] == headline


def test_a_hit_before_a_run_names_one_result_and_counts_the_others():
    told = Why("Sweep/fit", HIT, like="Sweep/18", tasks=3, hits=3)
    assert told.line == "the result of Sweep/17/fit/3, and of 2 more"


def test_a_miss_before_a_run_says_which_run_it_goes_by():
    told = Why("Sweep/fit", missed(ALPHA), like="Sweep/18", tasks=1)
    assert why.lines(told)[1] == "with inputs as in Sweep/18"


def test_each_difference_is_shown_with_its_diff():
    lines = why.lines(Why(TASK, missed(CODE, ALPHA, nearest="Sweep/17/fit/3")))
    assert lines[1:] == [
        "",
        "code of train() changed (train.py:40)",
        "    --- a",
        "    +++ b",
        "    -1",
        "    +2",
        "",
        "parameter alpha changed: 0.1 -> 0.2",
    ]


def test_of_many_differences_a_dozen_are_shown():
    many = tuple(Difference("code", f"f{n}()") for n in range(30))
    lines = why.lines(Why(TASK, missed(*many)))
    assert "code of f11() changed" in lines
    assert "code of f12() changed" not in lines
    assert lines[-1] == "and 18 more (all with --json)"


def test_an_answer_is_plain_data():
    told = Why(TASK, missed(CODE)).to_json()
    assert json.loads(json.dumps(told))["differences"][0]["where"] == "train.py:40"


@pytest.mark.parametrize("text", ["Sweep", "Sweep/18", "Sweep/18//31", "a/b/c/d/e"])
def test_what_names_no_task_is_refused(tmp_path, text):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    with pytest.raises(UsageError, match="is not a task; name one as Flow/run/step/task"):
        why.of_task(store, text)


@pytest.fixture(params=["local", "service"])
def noted(request, tmp_path) -> Iterator[NotedRuns]:
    with noting(request.param, tmp_path) as runs:
        yield runs


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def cloned(noted: NotedRuns, task: str) -> str:
    """Leave the clone of a task in a run of its own."""
    _, run, step, number = task.split("/")
    return noted.task(noted.run(), step, clone(run, number))


def test_a_hit_of_a_resumed_run_is_told_as_a_hit(noted, store):
    task = noted.task(noted.run(), "fit", A_HIT | {"origin-run-id": "7"})
    told = why.of_task(store, task)
    assert (told.outcome, told.line) == ("hit", "the result of Train/1/fit/2")


def test_a_clone_of_a_hit_is_told_as_a_clone_with_the_origin_of_the_hit(noted, store):
    hit = noted.task(noted.run(), "fit", A_HIT)
    told = why.of_task(store, cloned(noted, hit))
    assert told.outcome == "none"
    assert told.line == (f"it did not run: resume cloned {hit}, a hit: the result of Train/1/fit/2")


def test_a_clone_whose_origin_was_cleaned_up_is_told_as_a_clone(noted, store):
    told = why.of_task(store, cloned(noted, "Train/99999/fit/3"))
    assert told.line == "it did not run: resume cloned Train/99999/fit/3"


def test_the_result_of_a_clone_is_that_of_the_task_that_was_cloned(noted):
    hit = noted.task(noted.run(), "fit", A_HIT)
    assert why.result_key(cloned(noted, cloned(noted, hit))) == A_HIT["memo-key"]
    assert why.result_key(cloned(noted, "Train/99999/fit/3")) is None


def test_the_results_of_a_run_are_those_of_its_tasks_and_of_the_tasks_that_it_cloned(noted):
    run = noted.run()
    hit = noted.task(run, "fit", A_HIT)
    noted.task(run, "join", {"memo-key": "memo/Train/join/c/results/i/r/00000001"})
    _, number, *_ = hit.split("/")
    both = {A_HIT["memo-key"], "memo/Train/join/c/results/i/r/00000001"}
    assert task_results.keys_used(f"Train/{number}") == both
    assert task_results.keys_used(f"Train/{number}/fit") == {A_HIT["memo-key"]}
    assert task_results.keys_used(hit) == {A_HIT["memo-key"]}
    again = cloned(noted, hit)
    assert task_results.keys_used("/".join(again.split("/")[:2])) == {A_HIT["memo-key"]}
    with pytest.raises(NotFoundError, match="no run Train/99999"):
        task_results.keys_used("Train/99999")


def test_a_task_is_told_by_a_few_requests(tmp_path, store):
    with noting("service", tmp_path) as runs:
        assert runs.service is not None
        task = runs.task(runs.run(), "fit", A_HIT)
        runs.service.requests.clear()
        why.of_task(store, task)
        requests = dict(runs.service.requests)
    assert requests == {
        "GET /flows/*/runs/*/steps/*/tasks/*": 1,
        "GET /flows/*/runs/*/steps/*/tasks/*/metadata": 1,
    }


def test_an_answer_prints_as_people_read_it():
    assert str(Why(TASK, HIT)).splitlines()[0] == f"{TASK} was a hit: the result of Sweep/17/fit/3"
    steps = (StepDecisions("fit", 3, hits=2, misses=1, miss=missed()), StepDecisions("end", 1, 1))
    assert str(RunDecisions("Sweep/17", steps, 4, True)).splitlines() == [
        "Sweep/17: 3 hits, 1 miss",
        "fit: 2 of 3 were hits; first run",
        "end: 1 of 1 were hits",
    ]
