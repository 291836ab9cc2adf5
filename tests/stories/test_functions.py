"""Memoized functions inside of steps: what they read counts for the step around them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    from pathlib import Path
    import memoflow
    from memoflow import memoize
    from metaflow import FlowSpec, step

    @memoize
    def parse(name):
        print("parses", name)
        return Path(name).read_text().split()

    @memoize
    def length(word):
        print(f"counts {word}\\n", end="")  # At once: two threads print.
        return len(word)

    class Words(FlowSpec):
        @step
        def start(self):
            self.lengths = memoflow.map(length, parse("words.txt"), workers=2, progress=False)
            self.next(self.again)

        @memoize
        @step
        def again(self):
            self.words = parse("words.txt")
            print("step runs")
            self.next(self.fail)

        @step
        def fail(self):
            done = memoflow.map(length, ["one", "three", "eleven"], workers=1, progress=False)
            if not Path("go").exists():
                raise ValueError("not yet")
            print("lengths", done)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Words()
"""


@once
def world(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    project.write("words.txt", "one two")
    first = project.run(ok=False)
    second = project.run(ok=False)
    project.write("words.txt", "one two three")
    third = project.run(ok=False)
    project.write("go", "")
    resumed = project.python("flow.py", "--no-pylint", "resume")
    return {
        "first": first.text,
        "second": second.text,
        "third": third.text,
        "resumed": resumed.stdout,
    }


def lines(text: str, word: str) -> int:
    return sum(f" {word}" in line for line in text.splitlines())


@pytest.mark.parametrize(
    ("run", "counts"),
    [
        ("first", {"parses": 1, "counts": 4, "step runs": 1}),
        ("second", {"parses": 0, "counts": 0, "step runs": 0}),
        ("third", {"parses": 1, "counts": 0, "step runs": 1}),
        ("resumed", {"parses": 0, "counts": 0, "lengths": 1}),
    ],
)
def test_each_call_runs_once_in_all_runs(world, run, counts):
    assert {word: lines(world[run], word) for word in counts} == counts
