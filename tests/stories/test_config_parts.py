"""A memo depends on the parts of a Config that its step reads, and on no others."""

from __future__ import annotations

import json
from typing import Any

from tests.stories.world import once

FLOW = """
    from metaflow import Config, FlowSpec, memoize, step
    import yaml_like

    def cleaned(config):
        return config["clean"]["k"] * 10

    class Parts(FlowSpec):
        cfg = Config("cfg", default="c.json")
        words = Config("words", default="w.txt", parser=yaml_like.words, plain=True)

        @memoize
        @step
        def start(self):
            self.of_start = cleaned(self.cfg)
            self.next(self.kept)

        @memoize
        @step
        def kept(self):
            self.rate = self.cfg.train.lr
            self.node = self.cfg.train
            self.next(self.plain)

        @memoize
        @step
        def plain(self):
            self.of_plain = self.words[0]
            self.next(self.left, self.right)

        @memoize
        @step
        def left(self):
            self.of_left = self.cfg.get("opt", "none")
            self.next(self.join)

        @memoize
        @step
        def right(self):
            self.of_right = sorted(self.cfg.train.items())
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.of_join = self.cfg.clean.k + inputs[0].cfg.clean.k
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Parts()
"""

CONFIG: dict[str, Any] = {"clean": {"k": 1, "unread": 1}, "train": {"lr": 0.1, "n": 2}}


def missed(ran: Any) -> list[str]:
    return sorted({step for step in ran.workers if step != "end"})


@once
def ran(project: Any) -> Any:
    """What became of runs with one change after another, each against the first."""
    project.write("flow.py", FLOW)
    project.write("yaml_like.py", "def words(text):\n    return text.split()\n")

    def run(words: str = "a b", **change: Any) -> Any:
        project.write("c.json", json.dumps(CONFIG | change))
        project.write("w.txt", words)
        return project.run()

    run()
    again = run()
    before = project.python("flow.py", "--no-pylint", "run", "--help")
    assert before.returncode == 0, before.stdout
    found = {"again": missed(again)}
    for name, change in {
        "k": {"clean": {"k": 7, "unread": 1}},
        "unread": {"clean": {"k": 1, "unread": 9}},
        "lr": {"train": {"lr": 0.2, "n": 2}},
        "n": {"train": {"lr": 0.1, "n": 3}},
        "opt": {"opt": "given"},
        "order": {"train": {"n": 2, "lr": 0.1}},
        "words": {"words": "z b"},
    }.items():
        done = run(**change)
        found[name] = missed(done)
        found[f"lines of {name}"] = done.misses
    return found


def test_the_same_config_is_all_hits(ran: Any) -> None:
    assert ran["again"] == []


def test_a_part_that_was_read_is_a_miss_that_names_it(ran: Any) -> None:
    assert ran["k"] == ["join", "start"]
    assert "miss: config cfg.clean.k changed: 1 -> 7" in ran["lines of k"]


def test_a_part_that_nobody_read_is_a_hit(ran: Any) -> None:
    assert ran["unread"] == []


def test_a_node_that_became_an_artifact_was_read_as_a_whole(ran: Any) -> None:
    assert "kept" in ran["lr"]
    assert "kept" in ran["n"]


def test_a_part_that_was_looked_for_is_there_now(ran: Any) -> None:
    assert ran["opt"] == ["left"]


def test_the_order_counts_where_a_step_walks_over_it(ran: Any) -> None:
    assert "right" in ran["order"]
    assert "start" not in ran["order"]


def test_a_config_without_parts_is_read_as_a_whole(ran: Any) -> None:
    assert ran["words"] == ["plain"]
