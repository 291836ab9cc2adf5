"""Policy: what a run is told to load, over what @checkpoint says; and code that none can follow."""

from __future__ import annotations

import pytest

from tests.stories.world import notes, once, starts

FLOW = """
    import os
    from metaflow import FlowSpec, checkpoint, current, retry, step
    from notes import here, note, tree

    class Policy(FlowSpec):
        @checkpoint
        @step
        def start(self):
            c = current.checkpoint
            note(fresh=list(tree(c.directory)))
            here(c, was="x")
            c.save()
            self.next(self.eager)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(load_policy="eager")
        @step
        def eager(self):
            c = current.checkpoint
            note(**{f"eager {current.retry_count}": list(tree(c.directory))})
            here(c, was="x")
            c.save()
            if current.retry_count == 0 and os.environ.get("FAIL"):
                raise RuntimeError("once")
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Policy()
"""


@once
def policy(project):
    project.write("flow.py", FLOW)
    seen = {}
    project.run()
    variable = "METAFLOW_MEMOFLOW_CHECKPOINT_LOAD"
    for name, flags, env in (
        ("none is asked for", [], {}),
        ("flag eager", ["--checkpoint-load", "eager"], {}),
        ("flag none", ["--checkpoint-load", "none"], {"FAIL": "1"}),
        ("flag fresh", ["--checkpoint-load", "fresh"], {"FAIL": "1"}),
        ("variable eager", [], {variable: "eager"}),
        ("flag over variable", ["--checkpoint-load", "none"], {variable: "eager"}),
    ):
        (project.folder / "notes.jsonl").unlink()
        project.run(*flags, **env)
        seen[name] = notes(project)
    (project.folder / "notes.jsonl").unlink()
    project.run("resume", "start", "--checkpoint-load", "eager")
    seen["resume"] = notes(project)
    seen["wrong"] = [
        vars(starts(project, ["flow.py", "run", *flags], **env)[0])
        for flags, env in ((["--checkpoint-load", "late"], {}), ([], {variable: "late"}))
    ]
    return seen


@pytest.mark.parametrize("how", ["flag eager", "variable eager", "resume"])
def test_a_run_that_is_told_so_loads_what_any_run_saved(policy, how):
    assert policy[how]["fresh"] == ["was"]


def test_else_each_step_loads_as_it_says(policy):
    seen = policy["none is asked for"]
    assert (seen["fresh"], seen["eager 0"]) == ([], ["was"])


def test_a_run_that_is_to_load_nothing_loads_nothing(policy):
    seen = policy["flag none"]
    assert (seen["eager 0"], seen["eager 1"]) == ([], [])


def test_a_fresh_run_loads_on_a_retry_only(policy):
    seen = policy["flag fresh"]
    assert (seen["eager 0"], seen["eager 1"]) == ([], ["was"])


def test_the_flag_goes_before_the_variable(policy):
    assert policy["flag over variable"]["fresh"] == []


@pytest.mark.parametrize("how", [0, 1], ids=["flag", "variable"])
def test_a_wrong_value_stops_before_anything_runs(policy, how):
    ran = policy["wrong"][how]
    assert ran["code"] != 0
    assert ran["workers"] == []
    assert "late" in ran["text"]
    assert "eager, fresh, none" in ran["text"].replace("'", "")


ODD = """
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import note

    def raising(error):
        class Odd(type):
            def __getattribute__(cls, name):
                if armed and name in ("__mro__", "__dict__", "__module__"):
                    raise error
                return type.__getattribute__(cls, name)
        return Odd("Made", (), {{}})

    armed = []
    THING = raising({error})

    class OddFlow(FlowSpec):
        @checkpoint
        @step
        def start(self):
            note(found=str(type(THING).__name__))
            current.checkpoint.save(__file__)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        armed.append(1)
        OddFlow()
"""


@pytest.mark.parametrize(
    "error",
    ["RuntimeError('Set changed size during iteration')", "MemoryError()"],
)
def test_a_step_runs_whatever_following_its_code_raises(project, error):
    project.write("notes.py", "def note(**facts): pass\n")
    project.write("flow.py", ODD.format(error=error))
    ran = project.run()
    assert "its code cannot be followed" in ran.text
