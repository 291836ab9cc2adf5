"""A foreach sweep: what ran once does not run again."""

from __future__ import annotations

import pytest

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


@pytest.fixture
def sweep(project):
    project.write("flow.py", FLOW)
    project.write("train.py", TRAIN)
    return project


def test_a_second_run_starts_no_worker_of_a_memoized_step(sweep):
    first = sweep.run()
    assert first.workers.count("fit") == 3
    assert first.misses == ["miss: first run"] * 3

    second = sweep.run()
    assert second.workers.count("fit") == 0
    assert len(second.hits) == 3
    assert "scores [11, 21, 31]" in second.text
    assert any(line.startswith("3 hits, 0 misses") for line in second.memo_lines)


def test_one_item_more_starts_one_worker(sweep):
    sweep.run()
    sweep.edit("flow.py", "[1, 2, 3]", "[0, 1, 2, 3]")
    second = sweep.run()
    assert second.workers.count("fit") == 1
    assert second.misses == ["miss: no result yet for input 0"]
    assert "scores [1, 11, 21, 31]" in second.text


def test_an_edited_helper_runs_the_step_again_and_is_named(sweep):
    sweep.run()
    sweep.edit("train.py", "x * 10", "x * 100")
    second = sweep.run()
    assert second.workers.count("fit") == 3
    assert second.misses == ["miss: code of scale() changed (train.py:2)"] * 3
    assert "scores [101, 201, 301]" in second.text


def test_going_back_to_the_code_of_yesterday_hits_its_entries(sweep):
    sweep.run()
    sweep.edit("train.py", "x * 10", "x * 100")
    sweep.run()
    sweep.edit("train.py", "x * 100", "x * 10")
    third = sweep.run()
    assert third.workers.count("fit") == 0
    assert "scores [11, 21, 31]" in third.text
