"""`memoflow`, `metaflow memoflow` and `python flow.py memo` are one program."""

from __future__ import annotations

import json
from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    from memoflow import memoize
    from metaflow import FlowSpec, step

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.x = 1
            self.next(self.fit)

        @memoize
        @step
        def fit(self):
            self.y = self.x + 1
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""


@once
def world(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    ran = project.run()
    # Metaflow prints its version to the same stream, before anything of ours.
    doors = {
        "memoflow": ("-m", "memoflow"),
        "metaflow": ("-m", "metaflow.cmd.main_cli", "memoflow"),
        "flow": ("flow.py", "memo"),
    }
    saw = {
        door: project.python(*words, "ls", "--json").stdout.splitlines()[-1]
        for door, words in doors.items()
    }
    codes = {
        door: [project.python(*words, *verb).returncode for verb in (("nope",), ("show", "nope"))]
        for door, words in doors.items()
    }
    project.edit("flow.py", "self.x + 1", "self.x + 2")
    runner = "from metaflow import Runner; print(Runner('flow.py', show_output=False).run().status)"
    return {
        "saw": saw,
        "codes": codes,
        "help": project.python("flow.py", "memo", "ls", "--help").stdout,
        "task": project.python("-m", "memoflow", "why", f"Sweep/{ran.run_id}/fit").stdout,
        "entry": project.python("-m", "memoflow", "show", f"Sweep/{ran.run_id}/fit").stdout,
        "run": ran.run_id,
        "lost": project.python("-m", "memoflow", "show", "Sweep/1/fit/2").stdout,
        "before": project.python("flow.py", "memo", "why").stdout,
        "step": project.python("flow.py", "memo", "why", "fit", "--json").stdout.splitlines()[-1],
        "runner": project.python("-c", runner).stdout,
    }


def test_each_front_door_shows_the_same(world):
    one, *others = [json.loads(text) for text in world["saw"].values()]
    assert one["total"] == 1
    assert others == [one, one]


def test_each_front_door_ends_with_the_same_codes(world):
    assert world["codes"] == {door: [2, 1] for door in ("memoflow", "metaflow", "flow")}


def test_help_is_that_of_the_verb_and_names_the_front_door(world):
    assert "Usage: flow.py memo ls [OPTIONS] [NAME]..." in world["help"]


def test_why_tells_of_a_task_that_ran(world):
    assert "was a miss: first run" in world["task"]


def test_a_task_names_the_entry_of_its_result(world):
    assert f"origin\tSweep/{world['run']}/fit/" in world["entry"]


def test_a_task_that_does_not_exist_is_said_not_to(world):
    assert world["lost"].splitlines()[-1].startswith("Error: Metaflow has no task Sweep/1/fit/2")


def test_why_tells_before_a_run_what_was_edited(world):
    assert "Sweep/fit would be a miss: code of self.fit() changed (flow.py:" in world["before"]
    assert "+    self.y = self.x + 2" in world["before"].replace("        self.y", "    self.y")


def test_why_tells_the_same_as_json(world):
    (answer,) = json.loads(world["step"])["answers"]
    assert (answer["subject"], answer["outcome"]) == ("Sweep/fit", "miss")
    assert [each["kind"] for each in answer["differences"]] == ["code"]


def test_a_runner_still_runs_the_flow(world):
    assert "successful" in world["runner"]
