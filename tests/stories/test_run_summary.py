"""The end of runs, and the lines of wide foreaches, as real flows print them."""

from __future__ import annotations

import re
from typing import Any

from tests.stories.conftest import Project, Ran
from tests.stories.world import once

FLOW = """
    import os
    from metaflow import FlowSpec, Parameter, current, memoize, retry, step

    class Wide(FlowSpec):
        n = Parameter("n", default=22)

        @step
        def start(self):
            self.items = list(range(self.n))
            self.next(self.fit, foreach="items")

        @memoize
        @step
        def fit(self):
            print("fitted")
            self.y = self.input * 2
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.run = current.run_id
            self.next(self.check)

        @retry(times=1, minutes_between_retries=0)
        @memoize
        @step
        def check(self):
            if os.path.exists("broken"):
                raise ValueError("on purpose")
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Wide()
"""
ASK = """
from metaflow import Flow
answer = {run.id: sorted(run.user_tags) for run in Flow("Wide")}
answer["all"] = [run.id for run in Flow("Wide").runs("memo:2/4")]
"""
RUNNER = """
from metaflow import Runner
with Runner("flow.py", pylint=False, show_output=False).run(n=22, memo_lines="all") as running:
    print(running.stdout, running.stderr)
"""


@once
def wide(project: Project) -> Any:
    project.write("flow.py", FLOW)
    first = project.run("--n", "2")
    project.write("broken", "")
    failed = project.run("--n", "2", ok=False)
    (project.folder / "broken").unlink()
    resumed = project.run("resume", "--origin-run-id", failed.run_id)
    second = project.run("--n", "22")
    third = project.run("--n", "22")
    logs = project.python("flow.py", "logs", f"{third.run_id}/fit/9")
    every = project.run("--n", "22", "--memo-lines", "all")
    runner = project.python("-c", RUNNER)
    untagged = project.run("--n", "2", METAFLOW_MEMOFLOW_TAG="0")
    return {
        "first": first,
        "failed": failed,
        "resumed": resumed,
        "second": second,
        "third": third,
        "every": every,
        "untagged": untagged,
        "logs": logs.stdout,
        "runner": runner.stdout,
        "tags": project.ask(ASK),
    }


def ran(wide: Any, name: str) -> Ran:
    return Ran(**wide[name])


def table(wide: Any, name: str) -> list[list[str]]:
    """Return the cells of the table at the end of a run, and last its total."""
    lines = ran(wide, name).memo_lines
    begin = next(n for n, line in enumerate(lines) if line.startswith("step "))
    return [re.split(r"  +", line) for line in lines[begin:]]


def test_a_run_ends_with_a_row_for_each_step(wide):
    header, fit, join, check, total = table(wide, "first")
    assert header == ["step", "hits", "misses", "saved", "reason"]
    assert fit == ["fit", "0", "2", "first run"]
    assert join[:3] == ["join", "0", "1"]
    assert check == ["check", "0", "1", "first run"]
    assert total == ["0 hits, 4 misses"]


def test_a_failed_run_counts_each_task_once_however_often_it_was_tried(wide):
    *_, check, total = table(wide, "failed")
    assert check[:3] == ["check", "0", "1"]
    assert re.fullmatch(r"2 hits, 2 misses, .* saved", total[0])


def test_a_step_that_is_not_cached_has_its_reason(wide):
    join = next(row for row in table(wide, "failed") if row[0] == "join")
    assert join[-1].startswith("not cached: reads current.run_id")


def test_clones_of_a_resumed_run_do_not_count(wide):
    assert ran(wide, "resumed").memo_lines[-1] == "1 hit, 0 misses, 0.0 s saved"


def test_a_wide_foreach_is_counted_in_a_line(wide):
    run = ran(wide, "third")
    assert len(run.hits) == 2  # The first of `fit`, and that of `check`.
    assert f"[{run.run_id}/fit] [memoize] 22 hits of 22 tasks" in run.text
    assert run.text.count("Task is starting.") < 22


def test_misses_of_a_wide_foreach_have_a_few_lines(wide):
    run = ran(wide, "second")
    assert len([line for line in run.misses if "new input" in line]) == 3
    assert "2 hits, 20 misses of 22 tasks: new inputs (20)" in run.text
    assert ["fit", "2", "20", "0.0 s", "new inputs"] in table(wide, "second")


def test_the_log_of_a_task_has_its_line_in_any_case(wide):
    assert "[memoize] hit: Wide/" in wide["logs"]


def test_every_line_can_be_had(wide):
    assert len(ran(wide, "every").hits) == 23
    assert len(re.findall(r"\[memoize\] hit: ", wide["runner"])) == 23


def test_runs_are_tagged_with_their_hits(wide):
    tags = {name: wide["tags"][ran(wide, name).run_id] for name in ("first", "failed", "resumed")}
    assert tags == {
        "first": ["memo:0/4"],
        "failed": ["memo:2/4"],
        "resumed": ["memo:1/1", "memo:all"],
    }
    assert wide["tags"]["all"] == [ran(wide, "failed").run_id]


def test_a_setting_leaves_runs_without_tags(wide):
    assert wide["tags"][ran(wide, "untagged").run_id] == []
