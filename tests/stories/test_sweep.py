"""A foreach sweep: what ran once does not run again."""

from __future__ import annotations

from tests.stories.conftest import Ran
from tests.stories.world import once

FLOW = """
    from metaflow import FlowSpec, memoize, step
    from train import train

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.grid = [1, 2, 3]
            self.next(self.fit, foreach="grid")

        @memoize
        @step
        def fit(self):
            self.score = train(self.input)
            self.next(self.join)

        @step
        def join(self, inputs):
            self.scores = [one.score for one in inputs]
            self.next(self.end)

        @step
        def end(self):
            print("scores", self.scores)

    if __name__ == "__main__":
        Sweep()
"""

TRAIN = """
    def scale(x):
        return x * 10

    def train(x):
        return scale(x) + 1
"""


@once
def sweep(project):
    project.write("flow.py", FLOW)
    project.write("train.py", TRAIN)
    ran = {"first": project.run(), "second": project.run()}
    project.edit("flow.py", "[1, 2, 3]", "[0, 1, 2, 3]")
    ran["one more"] = project.run()
    project.edit("flow.py", "[0, 1, 2, 3]", "[1, 2, 3]")
    project.edit("train.py", "x * 10", "x * 100")
    ran["edited"] = project.run()
    project.edit("train.py", "x * 100", "x * 10")
    return ran | {"back": project.run()}


def test_a_second_run_starts_no_worker_of_a_memoized_step(sweep):
    first, second = (Ran(**sweep[name]) for name in ("first", "second"))
    assert first.workers.count("fit") == 3
    assert first.misses == ["miss: first run"] * 3
    assert second.workers.count("fit") == 0
    assert len(second.hits) == 3
    assert "scores [11, 21, 31]" in second.text
    assert any(line.startswith("3 hits, 0 misses") for line in second.memo_lines)


def test_one_item_more_starts_one_worker(sweep):
    ran = Ran(**sweep["one more"])
    assert ran.workers.count("fit") == 1
    assert ran.misses == ["miss: new input 0"]
    assert "scores [1, 11, 21, 31]" in ran.text


def test_an_edited_helper_runs_the_step_again_and_is_named(sweep):
    ran = Ran(**sweep["edited"])
    assert ran.workers.count("fit") == 3
    assert ran.misses == ["miss: code of scale() changed (train.py:2)"] * 3
    assert "scores [101, 201, 301]" in ran.text


def test_going_back_to_the_code_of_yesterday_hits_its_entries(sweep):
    assert "fit" not in sweep["back"]["workers"]
    assert "scores [11, 21, 31]" in sweep["back"]["text"]
