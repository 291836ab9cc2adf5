"""A task that is a hit is a real task to the Client API."""

from __future__ import annotations

import shutil

from tests.stories.world import once

FLOW = """
    from metaflow import FlowSpec, Parameter, memoize, step

    class Sweep(FlowSpec):
        unused = Parameter("unused", default="a")

        @step
        def start(self):
            self.grid = ["x", "y"]
            self.carried = "from start of " + self.unused
            self.next(self.fit, foreach="grid")

        @memoize
        @step
        def fit(self):
            self.score = self.input * 3
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.scores = sorted(one.score for one in inputs)
            self.next(self.end)

        @memoize
        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""


QUESTION = """
    second, first = [f"Sweep/{run.id}" for run in Flow("Sweep")]
    run = Run(second)
    fits = list(Step(second + "/fit"))

    def names(pathspec):
        return sorted(artifact.id for artifact in Step(pathspec).task.artifacts)

    answer = {
        "run": [run.successful, run.finished, run.finished_at is not None],
        "tasks": [[t.successful, t.finished, bool(t.finished_at)] for s in run for t in s],
        "indices": sorted(t.index for t in fits),
        "scores": [sorted(t.data.score for t in fits), run["join"].task.data.scores],
        "carried": [t.data.carried for t in fits],
        "unused": [t.data.unused for s in ("fit", "join", "end") for t in run[s]],
        "parents of join": sorted(p.pathspec for p in run["join"].task.parent_tasks),
        "fits": sorted(t.pathspec for t in fits),
        "parents of fits": [p.pathspec for t in fits for p in t.parent_tasks],
        "start": run["start"].task.pathspec,
        "tags": [("two" in t.tags, "one" in t.tags) for t in fits],
        "origins": sorted(t.metadata_dict["memo-origin"] for t in fits),
        "fits before": sorted(t.pathspec for t in Step(first + "/fit")),
        "names": [[names(f"{r}/{s}") for s in ("fit", "join", "end")] for r in (first, second)],
        "logs": [t.stdout for t in fits],
    }
"""

AFTER_A_CLEAN_UP = """
    tasks = list(Flow("Sweep").latest_run["fit"])
    answer = [("hit" in t.stdout, "memo-origin" in t.metadata_dict) for t in tasks]
"""


@once
def seen(project):
    project.write("flow.py", FLOW)
    first = project.run("--tag", "one")
    second = project.run("--tag", "two", "--unused=b")
    assert second.workers == ["start"], second.text
    answers = project.ask(QUESTION)
    shutil.rmtree(project.folder / ".metaflow" / "Sweep" / first.run_id)
    return answers | {"after a clean-up": project.ask(AFTER_A_CLEAN_UP)}


def test_the_run_is_successful_and_finished(seen):
    assert seen["run"] == [True, True, True]


def test_each_task_is_successful_and_finished(seen):
    assert seen["tasks"] == [[True, True, True]] * 5


def test_tasks_have_their_foreach_index(seen):
    assert seen["indices"] == [0, 1]


def test_artifacts_load(seen):
    assert seen["scores"] == [["xxx", "yyy"], ["xxx", "yyy"]]


def test_a_hit_inherits_from_its_current_parent(seen):
    assert seen["carried"] == ["from start of b"] * 2


def test_parameters_are_those_of_the_current_run(seen):
    assert seen["unused"] == ["b"] * 4


def test_parents_and_children_are_linked(seen):
    assert seen["parents of join"] == seen["fits"]
    assert seen["parents of fits"] == [seen["start"]] * 2


def test_tags_are_those_of_the_current_run(seen):
    assert seen["tags"] == [[True, False]] * 2


def test_the_origin_task_is_in_the_metadata(seen):
    assert seen["origins"] == seen["fits before"]


def test_metadata_and_logs_survive_the_clean_up_of_the_origin(seen):
    assert seen["after a clean-up"] == [[True, True]] * 2


def test_a_hit_has_every_name_that_the_origin_has(seen):
    origin, hit = seen["names"]
    assert hit == origin


def test_the_log_of_a_hit_says_so(seen):
    assert len(seen["logs"]) == 2
    assert all(text.startswith("[memoize] hit: Sweep/") for text in seen["logs"])
