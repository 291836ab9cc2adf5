"""Forced refresh and modes: per step, per run, through Runner and by environment variable."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.stress  # a flow for nearly each test: minutes in all


FLOW = """
    import os
    from metaflow import FlowSpec, memoize, step

    class Line(FlowSpec):
        @step
        def start(self):
            self.next(self.one)

        @memoize
        @step
        def one(self):
            self.value = os.environ.get("SEED", "0")
            self.next(self.two)

        @memoize
        @step
        def two(self):
            self.more = self.value + "!"
            self.next(self.end)

        @step
        def end(self):
            print("more", self.more)

    if __name__ == "__main__":
        Line()
"""


@pytest.fixture
def line(project):
    project.write("flow.py", FLOW)
    return project


def memoized(ran):
    return [name for name in ran.workers if name in ("one", "two")]


def test_refresh_of_one_step(line):
    line.run()
    assert memoized(line.run("--memo-refresh", "two")) == ["two"]


def test_refresh_of_a_step_and_all_after_it(line):
    line.run()
    assert memoized(line.run("--memo-refresh", "one+")) == ["one", "two"]


def test_refresh_of_all(line):
    line.run()
    ran = line.run("--memo-refresh", "all")
    assert memoized(ran) == ["one", "two"]
    assert ran.misses == ["miss: refresh asked for"] * 2


def test_refresh_twice_on_one_command_line(line):
    line.run()
    assert memoized(line.run("--memo-refresh", "one", "--memo-refresh", "two")) == ["one", "two"]


def test_a_refresh_replaces_the_result(line):
    line.run(SEED="1")
    assert "more 1!" in line.run(SEED="2").text
    assert "more 2!" in line.run("--memo-refresh", "one", SEED="2").text
    assert "more 2!" in line.run(SEED="3").text


def test_a_refresh_that_fails_keeps_the_old_result(line):
    line.run(SEED="1")
    fail = 'if os.environ.get("SEED") == "bad": os._exit(1)'
    line.edit("flow.py", "self.value = os", f"{fail}\n        self.value = os")
    line.run(SEED="1")
    assert line.run("--memo-refresh", "one", SEED="bad", ok=False).code != 0
    after = line.run(SEED="3")
    assert memoized(after) == []
    assert "more 1!" in after.text


def test_refresh_by_decorator(line):
    line.edit(
        "flow.py",
        "@memoize\n    @step\n    def one",
        "@memoize(refresh=True)\n    @step\n    def one",
    )
    line.run(SEED="1")
    assert "more 2!" in line.run(SEED="2").text


def test_refresh_by_environment_variable(line):
    line.run()
    assert memoized(line.run(METAFLOW_MEMOFLOW_REFRESH="two")) == ["two"]


def test_an_unknown_step_is_an_error_that_lists_the_steps(line):
    ran = line.run("--memo-refresh", "tow", ok=False)
    assert ran.code != 0
    assert "no step 'tow'" in ran.text
    assert "start, one, two, end" in ran.text
    assert ran.workers == []


def test_an_unknown_step_in_the_environment_is_the_same_error(line):
    ran = line.run(METAFLOW_MEMOFLOW_REFRESH="tow", ok=False)
    assert "no step 'tow'" in ran.text
    assert ran.workers == []


def test_off_neither_uses_nor_records(line):
    line.run("--memo", "off")
    assert memoized(line.run()) == ["one", "two"]
    assert memoized(line.run("--memo", "off")) == ["one", "two"]


def test_read_only_uses_and_does_not_record(line):
    line.run("--memo", "read-only")
    assert memoized(line.run("--memo", "read-only")) == ["one", "two"]
    line.run()
    assert memoized(line.run("--memo", "read-only")) == []


def test_only_makes_a_miss_an_error(line):
    ran = line.run("--memo", "only", ok=False)
    assert ran.code != 0
    assert "step one has no stored result (first run)" in ran.text
    line.run()
    assert memoized(line.run("--memo", "only")) == []


def test_the_mode_by_decorator_and_environment_variable(line):
    line.edit(
        "flow.py",
        "@memoize\n    @step\n    def two",
        "@memoize(mode='off')\n    @step\n    def two",
    )
    line.run()
    assert memoized(line.run()) == ["two"]
    assert memoized(line.run(METAFLOW_MEMOFLOW_MODE="off")) == ["one", "two"]


def test_an_unknown_mode_is_an_error(line):
    assert "Invalid value for '--memo'" in line.run("--memo", "maybe", ok=False).text
    line.edit(
        "flow.py",
        "@memoize\n    @step\n    def two",
        "@memoize(mode='maybe')\n    @step\n    def two",
    )
    assert "mode is one of on, off, read-only, only, not 'maybe'" in line.run(ok=False).text


def test_runner_takes_the_flags(line):
    line.run()
    line.write(
        "program.py",
        """
        from metaflow import Runner

        with Runner("flow.py", pylint=False).run(memo_refresh=["two"], memo="on") as running:
            print("STATUS", running.status)
        """,
    )
    log = line.folder / ".workers"
    done = line.python("program.py", MEMOFLOW_SPY=str(log))
    assert "STATUS successful" in done.stdout, done.stdout
    assert [name for name in log.read_text().split() if name in ("one", "two")][-1:] == ["two"]


def test_resume_takes_the_flags(line):
    line.run()
    ran = line.run("resume", "one", "--memo-refresh", "two")
    assert memoized(ran) == ["two"]


def test_flags_leave_the_parameters_of_a_flow_alone(line):
    line.edit(
        "flow.py",
        "@step\n    def start",
        "extra = Parameter('extra', default=4)\n\n    @step\n    def start",
    )
    line.edit("flow.py", "import FlowSpec,", "import FlowSpec, Parameter,")
    help_text = line.python("flow.py", "run", "--help").stdout
    assert "--extra" in help_text
    assert "--memo-refresh" in help_text
    line.run("--extra", "5")
