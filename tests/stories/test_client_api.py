"""A task that is a hit is a real task to the Client API."""

from __future__ import annotations

import textwrap

import pytest

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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    from tests.stories.conftest import Project

    project = Project(tmp_path_factory.mktemp("client"))
    project.write("flow.py", FLOW)
    first = project.run("--tag", "one")
    second = project.run("--tag", "two", "--unused=b")
    assert second.workers == ["start"], second.text
    return project, first.run_id, second.run_id


def ask(runs, question):
    project, first, second = runs
    runs = f"FIRST, SECOND = 'Sweep/{first}', 'Sweep/{second}'\n"
    return project.ask(runs + textwrap.dedent(question))


def test_the_run_is_successful_and_finished(runs):
    assert ask(runs, "r = Run(SECOND); answer = [r.successful, r.finished, r.finished_at != None]")
    assert ask(runs, "r = Run(SECOND); answer = r.successful and r.finished")


def test_each_task_is_successful_and_finished(runs):
    question = (
        "answer = [[t.successful, t.finished, bool(t.finished_at)] for s in Run(SECOND) for t in s]"
    )
    assert ask(runs, question) == [[True, True, True]] * 5


def test_tasks_have_their_foreach_index(runs):
    assert ask(runs, "answer = sorted(t.index for t in Step(SECOND + '/fit'))") == [0, 1]


def test_artifacts_load(runs):
    question = "answer = sorted(t.data.score for t in Step(SECOND + '/fit'))"
    assert ask(runs, question) == ["xxx", "yyy"]
    assert ask(runs, "answer = Run(SECOND)['join'].task.data.scores") == ["xxx", "yyy"]


def test_a_hit_inherits_from_its_current_parent(runs):
    question = "answer = [t.data.carried for t in Step(SECOND + '/fit')]"
    assert ask(runs, question) == ["from start of b"] * 2


def test_parameters_are_those_of_the_current_run(runs):
    question = "answer = [t.data.unused for s in ('fit', 'join', 'end') for t in Run(SECOND)[s]]"
    assert ask(runs, question) == ["b"] * 4


def test_parents_and_children_are_linked(runs):
    question = """
    answer = [
        sorted(p.pathspec for p in Run(SECOND)["join"].task.parent_tasks)
            == sorted(t.pathspec for t in Step(SECOND + "/fit")),
        [p.pathspec for t in Step(SECOND + "/fit") for p in t.parent_tasks]
            == [Run(SECOND)["start"].task.pathspec] * 2,
    ]
    """
    assert ask(runs, question) == [True, True]


def test_tags_are_those_of_the_current_run(runs):
    question = "answer = [('two' in t.tags, 'one' in t.tags) for t in Step(SECOND + '/fit')]"
    assert ask(runs, question) == [[True, False]] * 2


def test_the_origin_task_is_in_the_metadata(runs):
    question = """
    answer = sorted(t.metadata_dict["memo-origin"] for t in Step(SECOND + "/fit"))
    expected = sorted(t.pathspec for t in Step(FIRST + "/fit"))
    answer = [answer, expected]
    """
    origins, expected = ask(runs, question)
    assert origins == expected


def test_metadata_and_logs_survive_the_clean_up_of_the_origin(runs):
    project, first, _ = runs
    hidden = project.folder / "hidden"
    origin = project.folder / ".metaflow" / "Sweep" / first
    origin.rename(hidden)
    try:
        question = """
        tasks = list(Step(SECOND + "/fit"))
        answer = [("hit" in t.stdout, "memo-origin" in t.metadata_dict) for t in tasks]
        """
        assert ask(runs, question) == [[True, True]] * 2
    finally:
        hidden.rename(origin)


def test_a_hit_has_every_name_that_the_origin_has(runs):
    question = """
    names = lambda pathspec: sorted(a.id for a in Step(pathspec).task.artifacts)
    answer = [names(FIRST + "/" + s) == names(SECOND + "/" + s) for s in ("fit", "join", "end")]
    """
    assert ask(runs, question) == [True, True, True]


def test_the_log_of_a_hit_says_so(runs):
    question = "answer = [t.stdout for t in Step(SECOND + '/fit')]"
    assert all(text.startswith("[memoize] hit: Sweep/") for text in ask(runs, question))
