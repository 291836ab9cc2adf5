"""`why` of a whole run, and `stats --team`, as people and programs read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memoflow.kinds.decision import Decision, Reason
from tests.cli.conftest import Shelf
from tests.cli.test_terminal import on_a_terminal
from tests.flow.memo.noted import HIT, NotedRuns, clone, miss, noting

LONG = "'the value of a parameter that takes more than one line of a terminal of 80 columns'"


@pytest.fixture
def noted(tmp_path: Path) -> Iterator[NotedRuns]:
    with noting("local", tmp_path / "flows") as runs:
        yield runs


@pytest.fixture
def run(noted: NotedRuns) -> str:
    """A run of the flow `Sweep`, of which the shelf has results."""
    run = noted.run("Sweep", user="ann")
    noted.task(run, "start", clone("7", "1"))
    for fields in (HIT | {"memo-saved": "90.0"}, miss(Reason.NEW_INPUT, "'blue'")):
        noted.task(run, "fit", fields)
    noted.task(run, "join", miss(Reason.NOT_CACHEABLE, "reads current.run_id"))
    noted.task(run, "end")
    return run


def test_a_run_is_told_in_a_line_a_step(shelf: Shelf, run: str) -> None:
    lines = shelf.run("why", run).output.splitlines()
    assert lines == [
        f"{run}: 1 hit, 2 misses, 1 clone",
        "STEP\tHITS\tCLONES\tMISSES\tRAN\tEXAMPLE\tREASON",
        "start\t0\t1\t0\t\t\t",
        "fit\t1\t0\t1\t\t2\tnew input 'blue'",
        "join\t0\t0\t1\t\t3\tnot cached: reads current.run_id",
    ]


def test_a_run_is_told_as_json(shelf: Shelf, run: str) -> None:
    [answer] = shelf.json("why", run)["answers"]
    assert (answer["subject"], answer["outcome"], answer["tasks"]) == (run, "miss", 5)
    assert answer["steps"][1] == {
        "step": "fit",
        "tasks": 2,
        "hits": 1,
        "misses": 1,
        "clones": 0,
        "task": "2",
        "reason": "new_input",
        "line": "new input 'blue'",
        "shadows": 0,
        "differing": 0,
        "reasons": [
            {
                "reason": "new_input",
                "misses": 1,
                "run_time_s": 0,
                "untimed": 1,
                "task": "2",
                "line": "new input 'blue'",
            }
        ],
    }


def test_the_misses_of_a_run_are_told_by_reason_with_their_run_time(
    shelf: Shelf, noted: NotedRuns
) -> None:
    run = noted.run("Sweep")
    took = {Reason.NEW_INPUT: (60.0, 90.0), Reason.REFRESHED: (400.0,)}
    for reason, times in took.items():
        for seconds in times:
            told = Decision.miss(reason, run_time_s=seconds)
            noted.task(run, "fit", {"memo-decision": told.text()})
    noted.task(run, "fit", HIT)
    noted.task(run, "end")
    lines = shelf.run("why", run).output.splitlines()
    assert lines == [
        f"{run}: 1 hit, 3 misses",
        "STEP\tHITS\tCLONES\tMISSES\tRAN\tEXAMPLE\tREASON",
        "fit\t1\t0\t1\t7 min\t2\trefresh requested",
        "fit\t\t\t2\t2 min\t0\tnew inputs",
        "the misses ran 9 min: refresh requested 7 min, new inputs 2 min",
    ]


def test_a_run_and_a_task_are_told_together(shelf: Shelf, run: str) -> None:
    told = shelf.json("why", run, f"{run}/fit/2")["answers"]
    assert [each["subject"] for each in told] == [run, f"{run}/fit/2"]


def test_a_run_without_memoize_says_so(shelf: Shelf, noted: NotedRuns) -> None:
    run = noted.run("Sweep")
    noted.task(run, "end")
    told = shelf.run("why", run).output
    assert told == f"{run}: no task of it was looked up: no step has @memoize, or that was off\n"


def test_a_run_that_is_still_going_says_so(shelf: Shelf, noted: NotedRuns) -> None:
    run = noted.run("Sweep")
    noted.task(run, "fit", HIT)
    assert shelf.run("why", run).output.splitlines()[:2] == [
        f"{run}: 1 hit, 0 misses",
        "note: it has not finished: it is still running, or it failed",
    ]


def test_both_fit_on_a_terminal_of_80_columns(
    shelf: Shelf, noted: NotedRuns, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_LOCAL", str(tmp_path / "flows"))
    noted.task(run, "predict", miss(Reason.NEW_INPUT, LONG))
    why, team = on_a_terminal(shelf, "why", run), on_a_terminal(shelf, "stats", "--team")
    assert "predict" in why
    assert "Sweep/predict" in team
    assert max(map(len, (why + team).splitlines())) <= 80


@pytest.mark.parametrize("name", ["Sweep/99999", "Nowhere/1"])
def test_an_unknown_run_is_an_error(shelf: Shelf, noted: NotedRuns, name: str) -> None:
    done = shelf.run("why", name)
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: Metaflow has no run {name}: ")


@pytest.mark.parametrize("name", ["/18", "Sweep//fit", "a/b/c/d/e", "Swep/fit"])
def test_what_names_nothing_is_an_error_with_names_like_it(shelf: Shelf, name: str) -> None:
    done = shelf.run("why", name)
    assert done.exit_code == 1
    assert "has no entry named" in done.output
    assert "or name a task as Flow/run/step/task" in done.output
    assert ("did you mean Sweep/fit" in done.output) == (name in ("Sweep//fit", "Swep/fit"))


@pytest.mark.parametrize(
    ("name", "subject", "steps"),
    [
        ("Sweep", "{run}", ["start", "fit", "join"]),
        ("Sweep/", "{run}", ["start", "fit", "join"]),
        ("Sweep/fit", "{run}/fit", ["fit"]),
        ("{run}/fit", "{run}/fit", ["fit"]),
    ],
)
def test_a_flow_and_a_step_stand_for_the_latest_run(
    shelf: Shelf, run: str, name: str, subject: str, steps: list[str]
) -> None:
    [answer] = shelf.json("why", name.format(run=run))["answers"]
    assert answer["subject"] == subject.format(run=run)
    assert [each["step"] for each in answer["steps"]] == steps


def test_a_step_that_a_run_lacks_is_an_error(shelf: Shelf, run: str) -> None:
    done = shelf.run("why", f"{run}/ft")
    assert done.exit_code == 1
    assert f"{run} has no step 'ft'; its steps are start, fit, join, end" in done.output


@pytest.mark.parametrize("kind", ["id", "key", "pattern"])
def test_the_name_of_a_result_stands_for_its_task(
    shelf: Shelf, noted: NotedRuns, run: str, kind: str
) -> None:
    task = noted.task(run, "fit", miss(Reason.FIRST_RUN))
    shelf.record(9, origin=task)
    [entry] = shelf.json("ls", task)["entries"]
    name = {"id": entry["id"], "key": entry["key"], "pattern": task.replace("/fit/", "/f*/")}[kind]
    [answer] = shelf.json("why", name)["answers"]
    assert (answer["subject"], answer["reason"]) == (task, "first_run")


def test_a_checkpoint_has_no_decision(shelf: Shelf, noted: NotedRuns) -> None:
    done = shelf.run("why", "checkpoint/Train/*")
    assert done.exit_code == 1
    assert "is a checkpoint: only results have a decision" in done.output


def test_a_team_is_told_by_user_and_by_step(shelf: Shelf, noted: NotedRuns, run: str) -> None:
    other = noted.run("Sweep", user="bob")
    noted.task(other, "fit", HIT)
    lines = shelf.run("stats", "--team").output.splitlines()
    assert lines[0].startswith("runs\t2 since 20")
    assert lines[1:] == [
        "hits\t2 of 4 (50%)",
        "saved\t90 s, without 1 hit of memoflow 0.1.0",
        "USER\tRUNS\tHITS\tMISSES\tSAVED",
        "ann\t1\t1\t2\t90 s",
        "bob\t1\t1\t0\t0.0 s",
        "STEP\tHITS\tMISSES\tSAVED",
        "Sweep/fit\t2\t1\t90 s",
        "Sweep/join\t0\t1\t0.0 s",
    ]


def test_a_team_is_told_as_json(shelf: Shelf, run: str) -> None:
    team = shelf.json("stats", "--team")["team"]
    counts = {"hits": 1, "misses": 1, "saved_s": 90.0, "untimed": 0}
    assert {"user": "ann", "flow": "Sweep", "step": "fit"} | counts in team["tallies"]
    assert {"flow": "Sweep", "step": "fit"} | counts in team["steps"]
    assert team["users"][0] == {"user": "ann", "runs": 1} | counts | {"misses": 2}
    assert (team["runs"], team["left_out"], team["hits"]) == (1, 0, 1)
    assert team["since"].endswith("+00:00")


def test_without_team_nothing_is_said_of_one(shelf: Shelf) -> None:
    assert shelf.json("stats")["team"] is None


def test_a_team_without_runs_has_no_hits(shelf: Shelf, noted: NotedRuns) -> None:
    lines = shelf.run("stats", "--team", "--since", "7d").output.splitlines()
    assert lines[0].startswith("runs\t0 since 20")
    assert lines[1:] == ["hits\t0 of 0", "saved\t0.0 s"]


@pytest.mark.parametrize("since", ["30", "yesterday", "0d", "-1d"])
def test_a_time_that_is_none_is_refused(shelf: Shelf, since: str) -> None:
    assert "--since" in shelf.refused("stats", "--team", f"--since={since}")


def test_a_time_without_team_is_refused(shelf: Shelf) -> None:
    assert "--since needs --team" in shelf.refused("stats", "--since", "7d")
