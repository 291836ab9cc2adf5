"""`--with memoize` on any flow changes no result, in the first run or in any later one."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.stress  # a flow for nearly each test: minutes in all


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
            self.inner = [1, 2, 3]
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
        limit = Parameter("limit", type=int, default=3)

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

ANSWER = "answer = Flow('{name}').latest_run.data.answer"


@pytest.mark.parametrize(
    ("name", "text", "arguments"),
    [
        ("Branch", BRANCH, [[], [], ["--base=2"], ["--base=2"], []]),
        ("Nested", NESTED, [[], []]),
        ("Switch", SWITCH, [[], [], ["--limit=4"], ["--limit=4"], []]),
        ("Overwrite", OVERWRITE, [[], ["--start_with=8"], ["--start_with=8"], []]),
    ],
)
def test_with_memoize_changes_no_result(project, name, text, arguments):
    project.write("flow.py", text)
    plain = {}
    seen = set()
    for given in arguments:
        key = tuple(given)
        if key not in plain:
            project.run(*given)
            plain[key] = project.ask(ANSWER.format(name=name))
        ran = project.run("--with", "memoize", *given)
        assert project.ask(ANSWER.format(name=name)) == plain[key], ran.text
        assert "Traceback" not in ran.text
        assert not any("failed" in line for line in ran.memo_lines), ran.text
        if key in seen:
            assert ran.workers == [], ran.text
        seen.add(key)


def test_a_parallel_step_is_not_memoized_and_says_so_once(project):
    project.write(
        "flow.py",
        """
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
                self.nodes = sorted(one.node for one in inputs)
                self.next(self.end)

            @step
            def end(self):
                print("nodes", self.nodes)

        if __name__ == "__main__":
            Gang()
        """,
    )
    for _ in range(2):
        ran = project.run("--with", "memoize")
        assert project.ask("answer = Flow('Gang').latest_run.data.nodes") == [0, 1], ran.text
        assert ran.memo_lines.count("work is @parallel: not memoized") == 1
