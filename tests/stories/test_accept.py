"""`memo accept`: after a harmless change some tasks run anew, and the other results are bound."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from tests.stories.conftest import Project
from tests.stories.world import once

TASKS = 6

FLOW = """
    from metaflow import FlowSpec, Parameter, memoize, step

    class Sweep(FlowSpec):
        bias = Parameter("bias", default=1)

        @step
        def start(self):
            self.grid = list(range(6))
            self.next(self.fit, foreach="grid")

        @memoize
        @step
        def fit(self):
            print("body of", self.input)
            self.score = self.input * 2 + 1
            self.nan = float("nan")
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.total = sum(one.score for one in inputs)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""
BODY = "self.score = self.input * 2 + 1"
HARMLESS = "self.score = 1 + 2 * self.input"


def accept(project: Project, *words: str, **env: str) -> tuple[int, str]:
    done = project.python("flow.py", "--no-pylint", "memo", "accept", *words, **env)
    return done.returncode, done.stdout


def data(said: tuple[int, str]) -> dict[str, Any]:
    code, text = said
    assert code == 0, text
    found: dict[str, Any] = json.loads(text[text.index('{"step"') :].splitlines()[0])
    return found


def bodies(text: str) -> int:
    return text.count("] body of ")


@once
def ran(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    found: dict[str, Any] = {"same": None}
    project.run()
    found["same"] = accept(project, "fit", "--verify", "30%", "--yes")
    project.edit("flow.py", BODY, HARMLESS)
    found["dry"] = accept(project, "fit", "--verify", "30%", "--dry-run", "--json")
    found["asked"] = accept(project, "fit", "--verify", "30%")
    done = accept(project, "fit", "--verify", "30%", "--yes", "-m", "order of terms")
    found["done"], found["bodies"] = done, bodies(done[1])
    second = project.run()
    found["second"] = second
    path = f"Sweep/{second.run_id}/fit"
    tasks = project.ask('answer = [task.pathspec for task in Flow("Sweep").latest_run["fit"]]')
    assert isinstance(tasks, list)
    found["why"] = [project.python("flow.py", "memo", "why", each).stdout for each in tasks[:4]]
    keys = project.ask(
        'answer = [task.metadata_dict["memo-key"] for task in Flow("Sweep").latest_run["fit"]]'
    )
    assert isinstance(keys, list)
    found["show"] = [project.python("flow.py", "memo", "show", each).stdout for each in keys[:4]]
    found["path"] = path
    found["verify"] = project.python("flow.py", "memo", "verify").returncode
    found["again"] = data(accept(project, "fit", "--verify", "30%", "--yes", "--json"))
    found["undone"] = data(accept(project, "fit", "--undo", "--yes", "--json"))
    found["undone_again"] = accept(project, "fit", "--undo", "--yes")
    found["third"] = project.run()
    return found


def test_code_that_is_as_it_was_has_nothing_to_accept(ran):
    code, text = ran["same"]
    assert code == 1
    assert "has no results of other code to accept: the code is as it was" in text


def test_a_dry_run_runs_and_binds_nothing(ran):
    told = data(ran["dry"])
    assert (told["results"], told["verified"], told["ran"], told["bound"]) == (TASKS, 2, 0, 4)
    assert told["changes"][0]["line"].startswith("code of self.fit() changed")


def test_without_a_terminal_nothing_is_run(ran):
    code, text = ran["asked"]
    assert code == 2
    assert "nothing was run" in text


def test_a_share_runs_anew_and_the_others_are_bound(ran):
    code, text = ran["done"]
    assert code == 0
    assert ran["bodies"] == 2
    assert "2 of 6 results verified, all the same (2 ran anew in Sweep/" in text
    assert "4 bound to the present code" in text


def test_all_are_hits_then(ran):
    assert sorted(ran["second"]["workers"]) == ["end", "start"]


def test_why_and_show_name_the_person_and_the_reason(ran):
    assert any("; accepted by tester " in each for each in ran["why"])
    shown = next(each for each in ran["show"] if "accepted" in each)
    assert "by tester on " in shown
    assert "2 verified: order of terms" in shown


def test_bound_entries_are_whole(ran):
    assert ran["verify"] == 0


def test_a_second_acceptance_runs_nothing(ran):
    assert (ran["again"]["verified"], ran["again"]["ran"], ran["again"]["bound"]) == (2, 0, 0)


def test_undo_removes_the_bound_ones_and_no_other(ran):
    assert ran["undone"]["removed"] == 4
    code, text = ran["undone_again"]
    assert code == 1
    assert "has no acceptance to undo" in text
    assert ran["third"]["workers"].count("fit") == 4


@pytest.fixture
def stored(project: Project) -> Project:
    project.write("flow.py", FLOW)
    project.run()
    return project


def keys(project: Project) -> list[str]:
    listed = project.python("flow.py", "memo", "ls", "--json").stdout
    entries = json.loads(listed[listed.index("{") :])["entries"]
    return sorted(each["key"] for each in entries)


def test_the_first_difference_is_named_and_nothing_is_bound(stored):
    stored.edit("flow.py", BODY, "self.score = self.input * 2 + (1 if self.input != 4 else 1.5)")
    before = keys(stored)
    code, text = accept(stored, "fit", "--verify", "100%", "--yes")
    assert code == 1
    assert "differs from Sweep/" in text
    assert "score: 9 -> 9.5; nothing was bound" in text
    left = [key for key in keys(stored) if key not in before]
    assert len(left) == bodies(text)  # What ran is recorded, as ever; no more.


def test_code_that_reads_more_is_refused_though_its_results_are_the_same(stored):
    stored.edit("flow.py", BODY, "self.score = self.input * 2 + (self.bias if self.bias else 1)")
    code, text = accept(stored, "fit", "--verify", "5%", "--yes")
    assert code == 1
    assert "it reads bias now, which the stored result does not depend on" in text
    stored.run()
    changed = stored.run("--bias", "5")
    assert changed.workers.count("fit") == TASKS  # None is a false hit.


def test_a_task_that_fails_binds_nothing(stored):
    stored.edit("flow.py", BODY, "self.score = 1 // 0")
    code, text = accept(stored, "fit", "--verify", "5%", "--yes")
    assert code == 1
    assert "nothing was bound" in text
    assert len(keys(stored)) == TASKS + 1


def test_results_whose_runs_are_gone_cannot_be_verified(stored):
    (run,) = [
        each for each in (stored.folder / ".metaflow" / "Sweep").iterdir() if each.name.isdigit()
    ]
    shutil.rmtree(run)
    stored.edit("flow.py", BODY, HARMLESS)
    code, text = accept(stored, "fit", "--verify", "5%", "--yes")
    assert code == 1
    assert "only 0 of 6 results of Sweep/fit can be run anew, fewer than the 1 asked for" in text


def test_a_join_is_accepted_too_and_a_chain_of_changes(stored):
    stored.edit("flow.py", "sum(one.score for one in inputs)", "sum([one.score for one in inputs])")
    assert data(accept(stored, "join", "--verify", "100%", "--yes", "--json"))["ran"] == 1
    stored.edit("flow.py", BODY, HARMLESS)
    assert data(accept(stored, "fit", "--verify", "1", "--yes", "--json"))["ran"] == TASKS
    stored.edit("flow.py", HARMLESS, "self.score = 1 + self.input * 2")
    told = data(accept(stored, "fit", "--verify", "5%", "--yes", "--json"))
    assert (told["ran"], told["bound"]) == (1, TASKS - 1)
    assert sorted(stored.run().workers) == ["end", "start"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fit", "--verify", "0"), "is above 0"),
        (("fit", "--verify", "101%"), "is a share from 0 to 1"),
        (("fit", "--verify", "abc"), "is a share from 0 to 1"),
        (("fit", "--verify", "5"), "is a share from 0 to 1"),
        (("fit",), "say how many results to verify"),
        (("fit", "--id", "ab", "--verify", "5%"), "for --undo"),
        (("nope", "--verify", "5%"), "has no step 'nope'"),
        (("end", "--verify", "5%"), "has no @memoize"),
        (("fit/3", "--verify", "5%"), "is no step of Sweep"),
        (("fit", "--verify", "5%"), "no results of other code to accept: it has none"),
    ],
)
def test_bad_input_is_named(project, words, said):
    project.write("flow.py", FLOW)
    code, text = accept(project, *words, "--yes")
    assert code in (1, 2)
    assert said in text


def test_from_outside_the_flow_is_named_by_its_script(stored):
    stored.edit("flow.py", BODY, HARMLESS)
    memoflow = ("-m", "memoflow", "accept")
    without = stored.python(*memoflow, "Sweep/fit", "--verify", "5%")
    assert without.returncode == 1
    assert "or name its script with --flow flow.py" in without.stdout
    words = ("Sweep/fit", "--flow", "flow.py", "--verify", "5%", "--yes", "--json")
    done = stored.python(*memoflow, *words)
    assert data((done.returncode, done.stdout))["bound"] == TASKS - 1


def test_a_function_cannot_be_accepted(project):
    project.write("lib.py", "from memoflow import memoize\n\n@memoize\ndef f(x): return x\n")
    project.python("-c", "import lib; lib.f(1)")
    done = project.python("-m", "memoflow", "accept", "lib.f", "--verify", "5%")
    assert done.returncode == 1
    assert "lib.f is a function" in done.stdout
