"""Why: what is told of the tasks of two runs with seeded changes between them, and of a third."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from tests.s3 import Proxy, serving
from tests.stories.clouds import on_another_machine
from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    import json
    from metaflow import Config, FlowSpec, Parameter, current, memoize, step
    import lib

    class Seeded(FlowSpec):
        alpha = Parameter("alpha", default=1)
        config = Config("config", default="config.json")

        @step
        def start(self):
            with open("seed.json") as file:
                seed = json.load(file)
            self.rows, self.items = seed["rows"], seed["items"]
            self.next(self.code)

        @memoize
        @step
        def code(self):
            self.one = lib.scaled(2)
            self.next(self.parameter)

        @memoize
        @step
        def parameter(self):
            self.two = self.alpha
            self.next(self.artifact)

        @memoize
        @step
        def artifact(self):
            self.three = len(self.rows)
            self.next(self.configured)

        @memoize
        @step
        def configured(self):
            self.four = self.config.lr
            self.next(self.versioned)

        @memoize(version="1")
        @step
        def versioned(self):
            self.five = 5
            self.next(self.split)

        @memoize
        @step
        def split(self):
            self.six = 6
            self.next(self.item, foreach="items")

        @memoize
        @step
        def item(self):
            self.seven = self.input
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.run = current.run_id
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Seeded()
"""
LIB = """
    def scaled(x):
        return x * 2
"""
ASK = """
import json, sys
from metaflow import Run, namespace
from memoflow.flow.memo import why
from memoflow.storages.opening import open_store
namespace(None)
store, answer = open_store(".metaflow/memoflow"), {}
for run in sys.argv[1:]:
    for step in Run(f"Seeded/{run}"):
        for task in step:
            found = why.of_task(store, task.pathspec)
            index = f"[{task.index}]" if task.index is not None else ""
            answer[f"{step.id}{index} {run}"] = found.to_json() | {"lines": why.lines(found)}
print("ANSWER " + json.dumps(answer))
"""


def seed(project: Project, **values: Any) -> None:
    project.write("seed.json", json.dumps(values))


def answers(text: str) -> list[dict[str, Any]]:
    return json.loads(text[text.index('{"answers"') :])["answers"]


@once
def seeded(project: Project) -> Any:
    project.write("flow.py", FLOW)
    project.write("lib.py", LIB)
    project.write("config.json", '{"lr": 1}')
    seed(project, rows=[1, 2], items=["red", "green"])
    fresh = project.python("flow.py", "--no-pylint", "memo", "why", "--json")
    made = (project.folder / ".metaflow" / "memoflow").exists()
    first = project.run()
    project.edit("lib.py", "x * 2", "x * 3")
    project.write("config.json", '{"lr": 2}')
    project.edit("flow.py", 'version="1"', 'version="2"')
    seed(project, rows=[1, 2, 3], items=["red", "blue"])
    second = project.run("--alpha", "2")
    asked = project.python("-c", ASK, first.run_id, second.run_id)
    assert "ANSWER " in asked.stdout, asked.stdout
    told = json.loads(asked.stdout.rpartition("ANSWER ")[2])
    unchanged = project.python("flow.py", "--no-pylint", "memo", "why", "--json")
    project.write("seed.json", "{}")
    failed = project.run(ok=False)
    project.edit("lib.py", "x * 3", "x * 4")
    project.write("config.json", '{"lr": 3}')
    asked = ("code", "configured", "split")
    edited = project.python("flow.py", "--no-pylint", "memo", "why", *asked, "--json")
    people = project.python("flow.py", "--no-pylint", "memo", "why", "code")
    wrong = project.python("flow.py", "--no-pylint", "memo", "why", "nowhere")
    flow = project.folder / ".metaflow" / "Seeded"
    flow.rename(project.folder / "away")
    cleaned = project.python("flow.py", "--no-pylint", "memo", "why", "split", "--json")
    (project.folder / "away").rename(flow)
    runs = project.ask('answer = [run.id for run in Flow("Seeded")]')
    return {
        "runs": [first.run_id, second.run_id],
        "failed": failed.run_id,
        "fresh": answers(fresh.stdout),
        "made": made,
        "told": told,
        "unchanged": answers(unchanged.stdout),
        "edited": answers(edited.stdout),
        "cleaned": answers(cleaned.stdout),
        "people": people.stdout,
        "wrong": wrong.stdout,
        "runs_after": runs,
    }


def of(seeded: Any, task: str, run: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = seeded["told"][f"{task} {seeded['runs'][run]}"]
    return found


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("code", "code of scaled() changed (lib.py:2)"),
        ("parameter", "parameter alpha changed: 1 -> 2"),
        ("artifact", "input rows changed: [1, 2] -> [1, 2, 3]"),
        ("configured", "config config.lr"),
        ("versioned", "option version changed: 1 -> 2"),
        ("split", "input items[1] changed: 'green' -> 'blue'"),
        ("item[1]", "new input 'blue'"),
    ],
)
def test_a_miss_names_what_changed(seeded, task, line):
    why = of(seeded, task)
    assert why["outcome"] == "miss"
    assert why["line"].startswith(line)
    assert len(why["differences"]) == 1
    assert why["origin"].startswith(f"Seeded/{seeded['runs'][0]}/{task.partition('[')[0]}/")


def test_the_diff_of_the_code_is_shown(seeded):
    lines = of(seeded, "code")["lines"]
    assert "    -    return x * 2" in lines
    assert "    +    return x * 3" in lines


def test_a_hit_names_its_origin(seeded):
    why = of(seeded, "item[0]")
    assert why["outcome"] == "hit"
    assert why["origin"].startswith(f"Seeded/{seeded['runs'][0]}/item/")
    assert why["recorded"] is not None


@pytest.mark.parametrize("task", ["code", "item[0]", "item[1]"])
def test_a_first_run_has_nothing_to_be_compared_with(seeded, task):
    why = of(seeded, task, run=0)
    assert (why["outcome"], why["line"]) == ("miss", "first run")


def test_a_result_that_was_not_recorded_says_why(seeded):
    why = of(seeded, "join")
    assert why["outcome"] == "miss"
    assert "reads current.run_id" in why["unrecorded"]


def test_a_step_without_memoize_says_so(seeded):
    why = of(seeded, "end")
    assert (why["outcome"], why["line"]) == ("none", "it has no @memoize, or that was off")


def test_before_a_run_the_steps_that_would_be_hits_are_told(seeded):
    outcomes = {why["subject"]: why["outcome"] for why in seeded["unchanged"]}
    assert outcomes.pop("Seeded/join") == "miss"
    assert set(outcomes.values()) == {"hit"}, seeded["unchanged"]
    (item,) = (why for why in seeded["unchanged"] if why["subject"] == "Seeded/item")
    assert (item["hits"], item["tasks"]) == (2, 2)


def test_before_a_run_an_edit_is_told_with_its_diff(seeded):
    code, _, _ = seeded["edited"]
    assert (code["outcome"], code["line"]) == ("miss", "code of scaled() changed (lib.py:2)")
    assert "+    return x * 4" in code["differences"][0]["diff"]
    assert "Seeded/code would be a miss: code of scaled() changed (lib.py:2)" in seeded["people"]


def test_before_a_run_parameters_are_those_of_the_latest_run_which_is_said(seeded):
    (parameter,) = (why for why in seeded["unchanged"] if why["subject"] == "Seeded/parameter")
    assert parameter["outcome"] == "hit"
    assert parameter["note"] == "alpha is 2 there, and 1 by default"


def test_before_a_run_an_edited_config_is_a_miss_as_it_is_in_the_run(seeded):
    _, configured, _ = seeded["edited"]
    assert configured["outcome"] == "miss"
    assert configured["line"] == "config config.lr changed: 2 -> 3"


def test_before_a_run_a_step_after_one_that_would_run_is_no_sure_hit(seeded):
    _, _, split = seeded["edited"]
    assert split["outcome"] == "unknown"
    assert split["line"] == "code unchanged, depends on code, configured (miss)"


def test_before_a_run_one_that_failed_early_is_passed_over(seeded):
    _, configured, _ = seeded["edited"]
    assert configured["like"] == f"Seeded/{seeded['runs'][1]}"


def test_before_the_first_run_asking_makes_no_store(seeded):
    assert {(why["outcome"], why["line"]) for why in seeded["fresh"]} == {("miss", "first run")}
    assert not seeded["made"]


def test_before_a_run_without_runs_to_go_by_only_the_code_is_told(seeded):
    (split,) = seeded["cleaned"]
    assert (split["outcome"], split["tasks"]) == ("unknown", 0)
    assert split["line"] == "its inputs are known only during the run"


def test_asking_before_a_run_runs_nothing(seeded):
    assert sorted(seeded["runs_after"]) == sorted([*seeded["runs"], seeded["failed"]])


def test_an_unknown_step_is_an_error_that_lists_the_steps(seeded):
    assert "no step 'nowhere'" in seeded["wrong"]
    assert "start, code, parameter" in seeded["wrong"]


WIDE = """
    from metaflow import FlowSpec, memoize, step

    class Wide(FlowSpec):
        @step
        def start(self):
            self.items = [1, 2, 3]
            self.next(self.fit, foreach="items")

        @step
        def fit(self):
            self.fitted = self.input + 1
            self.next(self.score)

        @memoize
        @step
        def score(self):
            self.scored = self.fitted * 2
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Wide()
"""


@once
def in_a_bucket(project: Project) -> Any:
    project.write("flow.py", WIDE)
    with serving() as server:
        project.env |= server.environment(server.bucket())
        run = project.run()
        proxy = Proxy(server.url)
        with proxy.running() as url:
            project.env |= {"METAFLOW_S3_ENDPOINT_URL": url} | on_another_machine(project, 1)
            project.env["METAFLOW_DATASTORE_SYSROOT_LOCAL"] = str(project.folder)
            asked = project.python("flow.py", "--no-pylint", "memo", "why", "--json")
    return {
        "run": run.run_id,
        "answers": answers(asked.stdout),
        "asked": [unquote(line) for line in proxy.log],
    }


@pytest.mark.stress
def test_in_a_bucket_a_task_before_the_step_is_one_file(in_a_bucket):
    [score] = in_a_bucket["answers"]
    assert (score["outcome"], score["tasks"]) == ("hit", 3)
    of_tasks = [each for each in in_a_bucket["asked"] if f"Wide/{in_a_bucket['run']}/" in each]
    kinds = sorted(each.split()[0] for each in of_tasks)
    assert kinds == ["GET", "GET", "GET", "LIST"]
    assert {each.rpartition("/")[2] for each in of_tasks if "GET" in each} == {"0.data.json"}


@pytest.mark.stress
def test_in_a_bucket_no_artifact_is_asked_for_twice(in_a_bucket):
    artifacts = [each for each in in_a_bucket["asked"] if "Wide/data/" in each]
    assert len(artifacts) >= 3
    assert sorted(artifacts) == sorted(set(artifacts))
    assert not [each for each in artifacts if each.startswith("HEAD")]


RESUMED = """
    import os
    from metaflow import FlowSpec, memoize, step

    class Seeded(FlowSpec):
        @memoize
        @step
        def start(self):
            self.x = 1
            self.next(self.shaky)

        @step
        def shaky(self):
            if "FAIL" in os.environ:
                raise RuntimeError("on purpose")
            self.y = self.x
            self.next(self.last)

        @memoize
        @step
        def last(self):
            self.z = self.y + 1
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Seeded()
"""


@once
def resumed(project: Project) -> Any:
    project.write("flow.py", RESUMED)
    first = project.run()
    failed = project.run(ok=False, FAIL="1")
    second = project.run("resume", "--origin-run-id", failed.run_id)
    runs = [run.run_id for run in (first, failed, second)]
    asked = project.python("-c", ASK, *runs)
    assert "ANSWER " in asked.stdout, asked.stdout
    whole = ["-m", "memoflow", "why", *(f"Seeded/{run}" for run in runs), "--json"]
    flow = project.python("flow.py", "--no-pylint", "memo", "why", f"Seeded/{runs[2]}")
    team = project.python("-m", "memoflow", "stats", "--team", "--json")
    return {
        "runs": runs,
        "told": json.loads(asked.stdout.rpartition("ANSWER ")[2]),
        "whole": answers(project.python(*whole).stdout),
        "flow": flow.stdout,
        "team": json.loads(team.stdout[team.stdout.index('{"hits"') :])["team"],
    }


def test_a_clone_of_a_hit_and_a_hit_after_resume_are_told_apart(resumed):
    first, failed, second = resumed["runs"]
    clone, hit = (resumed["told"][f"{step} {second}"] for step in ("start", "last"))
    assert clone["outcome"] == "none"
    assert clone["line"].startswith(f"it did not run: resume cloned Seeded/{failed}/start/")
    assert f", a hit: the result of Seeded/{first}/start/" in clone["line"]
    assert hit["outcome"] == "hit"
    assert hit["origin"].startswith(f"Seeded/{first}/last/")


def test_whole_runs_are_told_by_their_steps(resumed):
    assert [(each["hits"], each["misses"], each["clones"]) for each in resumed["whole"]] == [
        (0, 2, 0),
        (1, 0, 0),
        (1, 0, 1),
    ]
    assert [each["note"] != "" for each in resumed["whole"]] == [False, True, False]
    assert [step["step"] for step in resumed["whole"][0]["steps"]] == ["start", "last"]
    assert resumed["whole"][0]["steps"][0]["line"] == "first run"


def test_a_flow_tells_of_its_runs_as_well(resumed):
    assert f"Seeded/{resumed['runs'][2]}: 1 hit, 0 misses, 1 clone" in resumed["flow"]


def test_the_hits_of_all_runs_are_counted_with_the_time_that_they_saved(resumed):
    team = resumed["team"]
    assert [(each["user"], each["runs"], each["hits"]) for each in team["users"]] == [
        ("tester", 3, 2)
    ]
    assert (team["hits"], team["misses"], team["untimed"]) == (2, 2, 0)
