"""Forced refresh and modes: per step, per run, through Runner and by environment variable."""

from __future__ import annotations

import pytest

from tests.stories.conftest import Ran
from tests.stories.world import once

pytestmark = pytest.mark.stress  # a minute of flows

FLOW = """
    import os
    from metaflow import FlowSpec, Parameter, memoize, step

    class Line(FlowSpec):
        extra = Parameter("extra", default=4)

        @memoize
        @step
        def start(self):
            self.next(self.one)

        @memoize
        @step
        def one(self):
            if os.environ.get("SEED") == "bad":
                os._exit(1)
            self.value = os.environ.get("SEED", "0")
            self.next(self.two)

        @memoize
        @step
        def two(self):
            self.more = self.value + "!"
            self.next(self.end)

        @memoize
        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Line()
"""
ALL = ["start", "one", "two", "end"]

PROGRAM = """
    from metaflow import Runner

    with Runner("flow.py", pylint=False).run(memo_refresh=["two"], memo="on") as running:
        print("STATUS", running.status)
"""

# By the tag that each run has.
RESULTS = """
    runs = [run for run in Flow("Line") if run.successful]
    answer = {tag: run.data.more for run in runs for tag in run.user_tags}
"""


@once
def line(project):
    project.write("flow.py", FLOW)
    project.write("program.py", PROGRAM)
    ran = {}

    def run(name, *arguments, **env):
        command = arguments if arguments[:1] == ("resume",) else (*arguments, "--tag", name)
        ran[name] = project.run(*command, ok=False, **env)

    run("first", SEED="1")
    run("two", "--memo-refresh", "two", SEED="1")
    run("one+", "--memo-refresh", "one+", SEED="1")
    run("all", "--memo-refresh", "all", SEED="1")
    run("one and two", "--memo-refresh", "one", "--memo-refresh", "two", SEED="1")
    run("unrefreshed", SEED="2")
    run("refreshed", "--memo-refresh", "one", SEED="2")
    run("after", "--extra", "5", SEED="3")
    run("failing", "--memo-refresh", "one", SEED="bad")
    run("after failing", SEED="4")
    run("variable", METAFLOW_MEMOFLOW_REFRESH="two")
    run("resume", "resume", "one", "--memo-refresh", "two")
    run("unknown", "--memo-refresh", "tow")
    run("unknown variable", METAFLOW_MEMOFLOW_REFRESH="tow")
    run("unknown mode", "--memo", "maybe")
    log = project.folder / ".of-runner"
    ran["runner"] = project.python("program.py", MEMOFLOW_SPY=str(log)).stdout
    ran["of runner"] = log.read_text().split()
    ran["help"] = project.python("flow.py", "run", "--help").stdout
    ran["results"] = project.ask(RESULTS)
    return ran


def test_without_a_flag_nothing_runs_again(line):
    assert line["first"]["workers"] == ALL
    assert line["unrefreshed"]["workers"] == []


def test_refresh_of_one_step(line):
    assert line["two"]["workers"] == ["two"]


def test_refresh_of_a_step_and_all_after_it(line):
    assert line["one+"]["workers"] == ["one", "two", "end"]


def test_refresh_of_all(line):
    assert line["all"]["workers"] == ALL
    assert Ran(**line["all"]).misses == ["miss: refresh requested"] * 4


def test_refresh_twice_on_one_command_line(line):
    assert line["one and two"]["workers"] == ["one", "two"]


def test_a_refresh_replaces_the_result(line):
    seen = [line["results"][tag] for tag in ("unrefreshed", "refreshed", "after")]
    assert seen == ["1!", "2!", "2!"]


def test_a_refresh_that_fails_keeps_the_old_result(line):
    assert line["failing"]["code"] != 0
    assert line["after failing"]["workers"] == []
    assert line["results"]["after failing"] == "2!"


def test_refresh_by_environment_variable(line):
    assert line["variable"]["workers"] == ["two"]


@pytest.mark.parametrize("where", ["unknown", "unknown variable"])
def test_an_unknown_step_is_an_error_that_lists_the_steps(line, where):
    assert line[where]["code"] != 0
    assert "no step 'tow'" in line[where]["text"]
    assert "start, one, two, end" in line[where]["text"]
    assert line[where]["workers"] == []


def test_runner_takes_the_flags(line):
    assert "STATUS successful" in line["runner"]
    assert line["of runner"] == ["two"]


def test_resume_takes_the_flags(line):
    assert line["resume"]["code"] == 0, line["resume"]["text"]
    assert line["resume"]["workers"] == ["two"]


def test_flags_leave_the_parameters_of_a_flow_alone(line):
    assert "--extra" in line["help"]
    assert "--memo-refresh" in line["help"]
    assert line["after"]["code"] == 0, line["after"]["text"]


MODES = """
    from metaflow import FlowSpec, memoize, step

    class Modes(FlowSpec):
        @memoize
        @step
        def start(self):
            self.next(self.end)

        @memoize
        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Modes()
"""

# For the decorator to say instead of the command line.
OPTIONS = """
    import os
    from metaflow import FlowSpec, memoize, step

    class Options(FlowSpec):
        @memoize(refresh=True)
        @step
        def start(self):
            self.value = os.environ["SEED"]
            self.next(self.off)

        @memoize(mode="off")
        @step
        def off(self):
            self.next(self.end)

        @memoize
        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Options()
"""


@once
def modes(project):
    project.write("flow.py", MODES)
    project.write("options.py", OPTIONS)
    project.write("bad.py", MODES.replace("@memoize", "@memoize(mode='maybe')"))
    ran = {}
    for name, mode in (
        ("off", "off"),
        ("read-only", "read-only"),
        ("only", "only"),
        ("on", "on"),
        ("off again", "off"),
        ("read-only again", "read-only"),
        ("only again", "only"),
    ):
        ran[name] = project.run("--memo", mode, ok=False)
    for seed in ("1", "2"):
        ran[f"options {seed}"] = project.run(flow="options.py", SEED=seed)
    ran["variable"] = project.run(flow="options.py", SEED="2", METAFLOW_MEMOFLOW_MODE="off")
    ran["unknown"] = project.run(flow="bad.py", ok=False)
    ran["value"] = project.ask("answer = list(Flow('Options'))[1].data.value")
    return ran


def test_off_neither_uses_nor_records(modes):
    assert modes["off"]["workers"] == ["start", "end"]
    assert modes["read-only"]["workers"] == ["start", "end"]
    assert modes["off again"]["workers"] == ["start", "end"]


def test_read_only_uses_and_does_not_record(modes):
    assert modes["read-only"]["workers"] == ["start", "end"]
    assert modes["on"]["workers"] == ["start", "end"]
    assert modes["read-only again"]["workers"] == []


def test_only_makes_a_miss_an_error(modes):
    assert modes["only"]["code"] != 0
    assert "step start has no stored result (first run)" in modes["only"]["text"]
    assert modes["only again"]["code"] == 0, modes["only again"]["text"]
    assert modes["only again"]["workers"] == []


def test_refresh_by_decorator(modes):
    assert "start" in modes["options 2"]["workers"]
    assert modes["value"] == "2"


def test_the_mode_by_decorator_and_environment_variable(modes):
    assert modes["options 2"]["workers"] == ["start", "off"]
    assert modes["variable"]["workers"] == ["start", "off", "end"]


def test_an_unknown_mode_is_an_error(line, modes):
    assert "Invalid value for '--memo'" in line["unknown mode"]["text"]
    assert (
        "mode is one of on, off, read-only, only, shadow, not 'maybe'" in modes["unknown"]["text"]
    )
