"""`--with memoize` on any flow changes no result, in the first run or in any later one."""

from __future__ import annotations

import pytest

from tests.stories.conftest import Ran
from tests.stories.world import once

pytestmark = pytest.mark.stress  # a minute of flows

BRANCH = """
    from metaflow import FlowSpec, Parameter, step

    class Branch(FlowSpec):
        base = Parameter("base", type=int, default=1)
        FACTOR = 3
        _HIDDEN = 5

        @step
        def start(self):
            self.untouched = ["carried", "along"]
            self.x = self.base * self.FACTOR + self._HIDDEN
            self.next(self.left, self.right)

        @step
        def left(self):
            self.a = self.x + 1
            self.next(self.join)

        @step
        def right(self):
            self.b = self.x + 2
            self.next(self.join)

        @step
        def join(self, inputs):
            self.total = inputs.left.a * 100 + inputs.right.b
            self.merge_artifacts(inputs, exclude=["a"])
            self.next(self.end)

        @step
        def end(self):
            self.answer = (self.total, self.x, self.b, self.untouched, hasattr(self, "a"))

    if __name__ == "__main__":
        Branch()
"""

NESTED = """
    from metaflow import FlowSpec, step

    class Nested(FlowSpec):
        @step
        def start(self):
            self.outer = ["a", "b"]
            self.next(self.split, foreach="outer")

        @step
        def split(self):
            self.letter = self.input
            self.inner = [1, 2]
            self.next(self.work, foreach="inner")

        @step
        def work(self):
            self.word = self.letter * self.input
            self.stack = self.foreach_stack()
            self.next(self.later)

        @step
        def later(self):
            self.seen = f"{self.word}:{self.input}:{self.index}"
            self.next(self.gather)

        @step
        def gather(self, inputs):
            self.letter = inputs[0].letter
            self.seen = sorted(one.seen for one in inputs)
            self.stacks = sorted(str(one.stack) for one in inputs)
            self.next(self.join)

        @step
        def join(self, inputs):
            self.all = sorted((one.letter, one.seen, one.stacks) for one in inputs)
            self.next(self.end)

        @step
        def end(self):
            self.answer = self.all

    if __name__ == "__main__":
        Nested()
"""

SWITCH = """
    from metaflow import FlowSpec, Parameter, step

    class Switch(FlowSpec):
        limit = Parameter("limit", type=int, default=2)

        @step
        def start(self):
            self.count = 0
            self.next(self.loop)

        @step
        def loop(self):
            self.count += 1
            self.again = "yes" if self.count < self.limit else "no"
            self.next({"yes": self.loop, "no": self.choose}, condition="again")

        @step
        def choose(self):
            self.kind = "even" if self.count % 2 == 0 else "odd"
            self.next({"even": self.even, "odd": self.odd}, condition="kind")

        @step
        def even(self):
            self.said = "even"
            self.next(self.after)

        @step
        def odd(self):
            self.said = "odd"
            self.next(self.after)

        @step
        def after(self):
            self.answer = (self.said, self.count)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Switch()
"""

OVERWRITE = """
    from metaflow import FlowSpec, Parameter, step

    class Overwrite(FlowSpec):
        start_with = Parameter("start_with", type=int, default=7)

        @step
        def start(self):
            self.y = self.start_with
            self.z = self.start_with
            self.next(self.set)

        @step
        def set(self):
            self.y = 7          # sometimes what it is already
            self.items = [1]
            self.next(self.change)

        @step
        def change(self):
            self.items.append(2)  # in place, without being set
            print(self.y)
            del self.y
            self.next(self.end)

        @step
        def end(self):
            self.answer = (self.y, self.z, self.items)

    if __name__ == "__main__":
        Overwrite()
"""

GANG = """
    from metaflow import FlowSpec, current, parallel, step

    class Gang(FlowSpec):
        @step
        def start(self):
            self.next(self.work, num_parallel=2)

        @parallel
        @step
        def work(self):
            self.node = current.parallel.node_index
            self.next(self.join)

        @step
        def join(self, inputs):
            self.answer = sorted(one.node for one in inputs)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Gang()
"""

NESTED_ANSWER = [
    [
        letter,
        [f"{letter}:1:0", f"{letter * 2}:2:1"],
        [f"[({outer}, 2, '{letter}'), ({inner}, 2, {inner + 1})]" for inner in range(2)],
    ]
    for outer, letter in enumerate("ab")
]

# The arguments of each run, and what it comes to without memoization.
RUNS = {
    "Branch": [
        ([], [910, 8, 10, ["carried", "along"], False]),
        ([], [910, 8, 10, ["carried", "along"], False]),
        (["--base=2"], [1213, 11, 13, ["carried", "along"], False]),
        (["--base=2"], [1213, 11, 13, ["carried", "along"], False]),
        ([], [910, 8, 10, ["carried", "along"], False]),
    ],
    "Nested": [([], NESTED_ANSWER)] * 2,
    "Switch": [
        ([], ["even", 2]),
        ([], ["even", 2]),
        (["--limit=3"], ["odd", 3]),
        (["--limit=3"], ["odd", 3]),
        ([], ["even", 2]),
    ],
    "Overwrite": [
        ([], [7, 7, [1, 2]]),
        (["--start_with=8"], [7, 8, [1, 2]]),
        (["--start_with=8"], [7, 8, [1, 2]]),
        ([], [7, 7, [1, 2]]),
    ],
    "Gang": [([], [0, 1])] * 2,
}

ANSWERS = """
    answer = {
        name: [run.data.answer for run in reversed(list(Flow(name)))]
        for name in ("Branch", "Nested", "Switch", "Overwrite", "Gang")
    }
"""


@once
def shapes(project):
    ran = {}
    for name, text in zip(RUNS, (BRANCH, NESTED, SWITCH, OVERWRITE, GANG), strict=True):
        project.write(f"{name}.py", text)
        ran[name] = [
            project.run("--with", "memoize", *arguments, flow=f"{name}.py", ok=False)
            for arguments, _ in RUNS[name]
        ]
    return {"ran": ran, "answers": project.ask(ANSWERS)}


@pytest.mark.parametrize("name", RUNS)
def test_with_memoize_changes_no_result(shapes, name):
    assert shapes["answers"][name] == [answer for _, answer in RUNS[name]]


@pytest.mark.parametrize("name", RUNS)
def test_with_memoize_fails_nowhere(shapes, name):
    for ran in shapes["ran"][name]:
        assert ran["code"] == 0, ran["text"]
        assert "Traceback" not in ran["text"]
        assert not any("failed" in line for line in Ran(**ran).memo_lines), ran["text"]


@pytest.mark.parametrize("name", [name for name in RUNS if name != "Gang"])
def test_what_was_run_before_runs_no_more(shapes, name):
    seen = []
    for ran, (arguments, _) in zip(shapes["ran"][name], RUNS[name], strict=True):
        assert (ran["workers"] == []) == (arguments in seen), ran["text"]
        seen.append(arguments)


def test_a_parallel_step_is_not_memoized_and_says_so_once(shapes):
    for ran in shapes["ran"]["Gang"]:
        assert Ran(**ran).memo_lines.count("work is @parallel: not memoized") == 1
