"""By default a memo depends on what the step reads, and on nothing else."""

from __future__ import annotations

import pytest

from tests.stories.world import once, told

READS = """
    import os
    from metaflow import (
        Config, FlowSpec, IncludeFile, Parameter, current, memoize, parallel_map, step)
    from notes import note

    class Reads(FlowSpec):
        a = Parameter("a", default=1)
        b = Parameter("b", default=1)
        text = IncludeFile("text", default="a.txt")
        cfg = Config("cfg", default="c.json")

        @step
        def start(self):
            self.x = int(os.environ["X"])
            self.own = os.environ["SEED"]
            self.words = set(os.environ["WORDS"].split())
            self.unlisted = os.environ["SEED"]
            if os.environ.get("GIVE"):
                self.extra = 5
            self.next(self.parameter)

        @memoize
        @step
        def parameter(self):
            self.of_parameter = self.a * 10
            self.next(self.absence)

        @memoize
        @step
        def absence(self):
            self.of_absence = getattr(self, "extra", 0)
            self.next(self.own_setting)

        @memoize
        @step
        def own_setting(self):
            self.own = "set"
            self.of_own_setting = self.own * 2
            self.next(self.helper)

        def help(self):
            return self.x + 1

        @memoize
        @step
        def helper(self):
            self.of_helper = self.help()
            self.next(self.children)

        @memoize
        @step
        def children(self):
            self.of_children = parallel_map(lambda i: self.x + i, [1, 2])
            self.next(self.include_file)

        @memoize
        @step
        def include_file(self):
            self.of_include_file = self.text.upper()
            self.next(self.config)

        @memoize
        @step
        def config(self):
            self.of_config = self.cfg.lr
            self.next(self.of_the_run)

        @memoize
        @step
        def of_the_run(self):
            self.of_of_the_run = current.username + str(sorted(current.tags))
            self.next(self.run_id)

        @memoize
        @step
        def run_id(self):
            self.of_run_id = current.run_id
            self.next(self.ignored)

        @memoize(ignore=["current.run_id"])
        @step
        def ignored(self):
            self.of_ignored = len(current.run_id) * 0
            self.next(self.all_vars)

        @memoize
        @step
        def all_vars(self):
            self.of_all_vars = sorted(n for n in vars(self) if n == "x")
            self.next(self.equal)

        @memoize
        @step
        def equal(self):
            self.of_equal = len(self.words)
            self.next(self.listed)

        @memoize(inputs=["x"])
        @step
        def listed(self):
            self.of_listed = (self.x, self.unlisted)
            self.next(self.end)

        @step
        def end(self):
            names = ("parameter absence helper children include_file config of_the_run").split()
            note(**{name: getattr(self, "of_" + name) for name in names})

    if __name__ == "__main__":
        Reads()
"""


@once
def reads(project):
    """Three runs: in the second all differs that no step reads, in the third all that one does."""
    project.write("a.txt", "one")
    project.write("b.txt", "one")
    project.write("c.json", '{"lr": 1}')
    project.write("flow.py", READS)

    def run(*arguments, **env):
        return told(project, project.run(*arguments, **env))

    words = "a b c d e f g"
    first = run(X="1", SEED="1", WORDS=words, PYTHONHASHSEED="1")
    others = {"SEED": "2", "WORDS": words[::-1], "PYTHONHASHSEED": "2"}
    second = run("--b=2", "--text=b.txt", X="1", **others)
    project.write("a.txt", "two")
    project.write("c.json", '{"lr": 2}')
    third = run("--a=2", "--tag=blue", X="2", GIVE="1", METAFLOW_USER="other", **others)
    return [first, second, third]


@pytest.fixture
def hits(reads):
    """The steps that the second run did not run again."""
    return {name for name in reads[0]["workers"] if name not in reads[1]["workers"]}


@pytest.fixture
def answers(reads):
    """What the third run came to."""
    return reads[2]["noted"]


def never_hits(reads, step):
    """The lines with which the first run said that a step never hits."""
    lines = reads[0]["text"].splitlines()
    return [line for line in lines if f"/{step}/" in line and "not cached: " in line]


def test_a_parameter_that_is_not_read_does_not_matter(reads, hits, answers):
    assert "parameter" in hits
    assert reads[2]["misses"]["parameter"] == "miss: parameter a changed: 1 -> 2"
    assert answers["parameter"] == 20


def test_an_absence_is_a_read(hits, answers):
    assert "absence" in hits
    assert answers["absence"] == 5


def test_what_the_step_itself_has_set_is_no_input(hits):
    assert "own_setting" in hits


def test_reads_in_helper_methods_count(hits, answers):
    assert "helper" in hits
    assert answers["helper"] == 3


def test_reads_in_forked_children_count(hits, answers):
    assert "children" in hits
    assert answers["children"] == [3, 4]


def test_an_include_file_counts_by_its_content(hits, answers):
    assert "include_file" in hits
    assert answers["include_file"] == "TWO"


def test_a_config_counts_by_its_content(hits, answers):
    assert "config" in hits
    assert answers["config"] == 2


def test_a_step_that_reads_its_run_id_never_hits_and_says_why(reads, hits):
    assert any("current.run_id" in line for line in never_hits(reads, "run_id"))
    assert "run_id" not in hits


def test_ignore_takes_a_name_out(hits):
    assert "ignored" in hits


def test_current_values_that_are_real_inputs_count(hits, answers):
    assert "of_the_run" in hits
    assert answers["of_the_run"].startswith("other[")
    assert "'blue'" in answers["of_the_run"]


def test_vars_of_self_cannot_be_told_and_never_hits(reads, hits):
    assert never_hits(reads, "all_vars")
    assert "all_vars" not in hits


def test_equal_values_with_other_bytes_hit(hits):
    assert "equal" in hits


def test_listed_inputs_alone_decide(reads, hits):
    assert "also reads unlisted" in reads[0]["text"]
    assert "listed" in hits


EDITS = """
    from deco import add
    from metaflow import FlowSpec, memoize, step
    from model import Model
    from notes import note

    class Edits(FlowSpec):
        LIMIT = 3
        _limit = 3

        @step
        def start(self):
            self.x = 41  # first
            self.model = Model()
            self.next(self.constant)

        @memoize
        @step
        def constant(self):
            self.of_constant = self.LIMIT
            self.next(self.private)

        @memoize
        @step
        def private(self):
            self.of_private = self._limit
            self.next(self.class_of_input)

        @memoize
        @step
        def class_of_input(self):
            self.of_class_of_input = self.model.predict()
            self.next(self.decorated)

        @memoize
        @add(by=10)
        @step
        def decorated(self):
            self.of_decorated = 1
            self.next(self.upstream)

        @memoize
        @step
        def upstream(self):
            self.of_upstream = self.x + 1
            self.next(self.end)

        @step
        def end(self):
            names = "constant private class_of_input decorated upstream".split()
            note(**{name: getattr(self, "of_" + name) for name in names})

    if __name__ == "__main__":
        Edits()
"""

DECORATOR = """
    from metaflow import user_step_decorator

    @user_step_decorator
    def add(step_name, flow, inputs, attributes):
        yield
        flow.of_decorated = flow.of_decorated + attributes["by"]
"""


@once
def edits(project):
    project.write("model.py", "class Model:\n    def predict(self):\n        return 1\n")
    project.write("deco.py", DECORATOR)
    project.write("flow.py", EDITS)

    def run():
        return told(project, project.run())

    ran = {"first": run(), "again": run()}
    project.edit("flow.py", "LIMIT = 3", "LIMIT = 4")
    project.edit("flow.py", "_limit = 3", "_limit = 5")
    project.edit("flow.py", "41  # first", "40 + 1")
    project.edit("flow.py", "by=10", "by=20")
    project.edit("model.py", "return 1", "return 2")
    ran["edited"] = run()
    project.edit("model.py", "return 2", "return 1")
    project.edit("deco.py", "flow.of_decorated + ", "100 + flow.of_decorated + ")
    ran["back"] = run()
    return ran


def test_what_was_not_edited_hits(edits):
    assert edits["again"]["workers"] == ["start", "end"]


def test_a_class_constant_counts(edits):
    assert (edits["first"]["noted"]["constant"], edits["edited"]["noted"]["constant"]) == (3, 4)
    assert "LIMIT" in edits["edited"]["misses"]["constant"]


def test_a_private_class_attribute_counts(edits):
    assert (edits["first"]["noted"]["private"], edits["edited"]["noted"]["private"]) == (3, 5)
    assert "_limit" in edits["edited"]["misses"]["private"]


def test_an_edited_class_of_an_input_runs_the_step_again(edits):
    answers = [edits[run]["noted"]["class_of_input"] for run in ("again", "edited", "back")]
    assert answers == [1, 2, 1]
    assert "class_of_input" not in edits["back"]["workers"]


def test_a_step_decorator_of_the_users_counts(edits):
    answers = [edits[run]["noted"]["decorated"] for run in ("first", "again", "edited", "back")]
    assert answers == [11, 11, 21, 121]


def test_upstream_that_ran_again_with_equal_results_changes_nothing(edits):
    assert "start" in edits["edited"]["workers"]
    assert "upstream" not in edits["edited"]["workers"]


FORM = """
    from metaflow import FlowSpec, memoize, step

    class F(FlowSpec):
        @memoize
        @step
        def start(self):
            self.items = [1, 2]
            self.next(self.work, foreach="items")

        @memoize(next='join', inputs=['input'], outputs=['output'])
        @step
        def work(self):
            self.output = self.input + 1
            self.scratch = "not kept"
            self.next(self.join)

        @step
        def join(self, inputs):
            self.answer = [one.output for one in inputs]
            print("answer", self.answer, [hasattr(one, "scratch") for one in inputs])
            self.next(self.end)

        @memoize
        @step
        def end(self):
            pass

    if __name__ == "__main__":
        F()
"""


def test_the_form_first_proposed_works(project):
    project.write("flow.py", FORM)
    first = project.run()
    assert any("also sets scratch" in line for line in first.memo_lines)
    second = project.run()
    assert second.workers.count("work") == 0
    assert "answer [2, 3] [False, False]" in second.text
