"""The events of a wide foreach: one line a task, each whole."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    from memoflow import memoize
    from metaflow import FlowSpec, step

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.items = list(range(20))
            self.next(self.fit, foreach="items")

        @memoize
        @step
        def fit(self):
            self.y = self.input + 1
            self.next(self.join)

        @step
        def join(self, inputs):
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
    env = {"METAFLOW_MEMOFLOW_EVENTS": "events.jsonl"}
    runs = [project.run("--max-workers", "4", **env).run_id for _ in range(2)]
    project.python("-m", "memoflow", "gc", "--max-size", "1B", "--yes", **env)
    lines = (project.folder / "events.jsonl").read_text().splitlines()
    return {"runs": runs, "events": [json.loads(line) for line in lines]}


def test_each_task_has_its_line(world: dict[str, Any]):
    for run, event in zip(world["runs"], ("miss", "hit"), strict=True):
        found = [each for each in world["events"] if each["event"] == event]
        assert {(each["flow"], each["run"], each["step"]) for each in found} == {
            ("Sweep", run, "fit")
        }
        assert len({each["task"] for each in found}) == len(found) == 20


def test_saves_name_their_tasks_and_hits_their_entries(world: dict[str, Any]):
    saves = [each for each in world["events"] if each["event"] == "save" and each["kind"] == "memo"]
    hits = [each for each in world["events"] if each["event"] == "hit"]
    assert {each["entry"] for each in hits} <= {each["entry"] for each in saves}
    assert {each["step"] for each in saves} == {"fit"}
    assert all(each["saved_s"] >= 0 and each["size_bytes"] > 0 for each in hits)


def test_removals_are_noted(world: dict[str, Any]):
    counted = Counter(each["event"] for each in world["events"])
    assert counted["evict"] >= 20
    assert counted["gc"] >= 1
