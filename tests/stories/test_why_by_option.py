"""Predictions for a flow whose steps are memoized by its command line alone."""

from __future__ import annotations

import json
from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    from metaflow import FlowSpec, Parameter, step

    class Bare(FlowSpec):
        rate = Parameter("rate", default=1)

        @step
        def start(self):
            self.next(self.fit)

        @step
        def fit(self):
            self.y = self.rate + 1
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Bare()
"""


@once
def asked(project: Project) -> Any:
    project.write("flow.py", FLOW)

    def why(*more: str) -> str:
        return project.python("flow.py", "--no-pylint", "memo", "why", *more).stdout

    before = why()
    run = project.run("--with", "memoize:ttl=30d").run_id
    told = {"before": before, "run": run, "after": why(), "json": why("--json", "fit")}
    project.edit("flow.py", "self.rate + 1", "self.rate + 2")
    told["edited"] = why("fit")
    project.run("--with", "memoize", "--with", "environment:vars={}")
    told["others"] = why()
    project.run()
    return told | {"without": why(), "step": why("fit")}


def test_without_a_run_the_command_is_told(asked):
    line = "no step has @memoize; `python flow.py --with memoize memo why` predicts a run"
    assert line in asked["before"]


def test_the_steps_are_looked_up_as_the_latest_run_had_them(asked):
    assert f"Bare/fit would be a hit, with inputs as in Bare/{asked['run']}" in asked["after"]
    note = f"note: looked up as with --with memoize, by which Bare/{asked['run']} was run"
    assert note in asked["after"]


def test_a_program_is_told_the_run(asked):
    [answer] = json.loads(asked["json"][asked["json"].index('{"answers"') :])["answers"]
    assert (answer["outcome"], answer["memoized_by"]) == ("hit", f"Bare/{asked['run']}")


def test_a_miss_is_predicted_as_well(asked):
    assert "Bare/fit would be a miss: " in asked["edited"]


def test_other_decorators_that_may_count_are_part_of_the_command(asked):
    assert "`python flow.py --with memoize --with environment memo why`" in asked["others"]


def test_after_a_run_without_it_the_command_is_told(asked):
    assert "`python flow.py --with memoize memo why` predicts" in asked["without"]
    assert "`python flow.py --with memoize memo why fit` predicts" in asked["step"]
