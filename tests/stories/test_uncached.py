"""Steps that are never recorded say so once a run, with the remedy as the user spells it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    import time
    from metaflow import FlowSpec, current, memoize, step
    import lib

    class Never(FlowSpec):
        started = time.time()

        @step
        def start(self):
            self.items = [1, 2, 3]
            self.next(self.each, foreach="items")

        @memoize
        @step
        def each(self):
            self.run = f"{current.run_id} {self.input}"
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.dated)

        @memoize
        @step
        def dated(self):
            self.at = lib.stamp()
            self.next(self.begun)

        @memoize
        @step
        def begun(self):
            self.since = self.started
            self.next(self.quick)

        @memoize(min_time="30s", ignore=["logs/*"])
        @step
        def quick(self):
            self.value = 1
            self.next(self.listed)

        @memoize(inputs=["value"])
        @step
        def listed(self):
            self.more = self.value
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Never()
"""
LIB = """
    import time
    RUN = time.time()

    def stamp():
        return RUN
"""
OTHER = """
    from metaflow import FlowSpec, current, step

    class Plain(FlowSpec):
        @step
        def start(self):
            self.run = current.run_id
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Plain()
"""
REMEDY = 'reads current.run_id (add @memoize(ignore=["current.run_id"]) if it does not matter)'
MADE_ANEW = "not cached: constant lib.RUN differs in each process: make it in the step"


def lines(text: str, step: str) -> list[str]:
    return re.findall(rf"/{step}/\d+ \(pid \d+\)\] \[memoize\] (.*)", text)


@once
def never(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    project.write("lib.py", LIB)
    project.write("plain.py", OTHER)
    ran = {"first": project.run().text, "second": project.run().text}
    plain = project.run("--with", "memoize", flow="plain.py")
    ran["plain"] = project.run("--with", "memoize", flow="plain.py").text
    ran["plain first"] = plain.text
    asked = project.python("flow.py", "--no-pylint", "memo", "why")
    ran["why"] = asked.stdout
    project.edit("lib.py", "RUN = time.time()", "RUN = 7")
    ran["mended"] = project.run().text
    ran["after"] = project.run().text
    project.python("-m", "memoflow", "forget", "Never/listed", "--all", "--yes")
    ran["forgotten"] = project.run().text
    ran["forgotten why"] = project.python("flow.py", "--no-pylint", "memo", "why", "listed").stdout
    return ran


@pytest.mark.parametrize("run", ["first", "second"])
def test_a_step_that_reads_its_run_says_so_once_a_run(never, run):
    told = [line for line in lines(never[run], "each") if line.startswith("not cached")]
    assert told == [f"not cached: {REMEDY}"]


def test_from_the_second_run_on_it_is_no_first_run(never):
    assert lines(never["first"], "each").count("miss: first run") == 3
    assert lines(never["second"], "each") == [f"not cached: {REMEDY}"]


def test_the_remedy_is_spelled_as_the_command_line_has_it(never):
    (line,) = lines(never["plain"], "start")
    assert "(add --with memoize:ignore=current.run_id if it does not matter)" in line


@pytest.mark.parametrize("run", ["first", "second"])
def test_a_constant_that_differs_in_each_process_is_named(never, run):
    assert lines(never[run], "dated") == [MADE_ANEW]


def test_class_data_that_differs_in_each_process_is_named(never):
    told = "not cached: self.started differs in each process: make it in the step"
    assert lines(never["first"], "begun") == ["miss: first run", told]
    assert lines(never["second"], "begun") == [told]


def test_once_it_is_mended_the_step_is_recorded(never):
    assert not any("differs in each process" in line for line in lines(never["mended"], "dated"))
    assert lines(never["after"], "dated")[0].startswith("hit: ")


def test_a_step_that_took_too_short_is_not_recorded(never):
    (line,) = lines(never["second"], "quick")
    assert re.fullmatch(r"not cached: took 0\.\d s, less than min_time=30s", line)


def test_before_a_run_the_same_is_told(never):
    assert f"Never/each is not cached: {REMEDY}" in never["why"]
    assert f"Never/dated is {MADE_ANEW}" in never["why"]
    assert "less than min_time=30s" in never["why"]


def test_a_result_that_was_forgotten_is_evicted(never):
    (line,) = [line for line in lines(never["forgotten"], "listed") if "miss" in line]
    assert re.fullmatch(r"miss: the cached result was evicted \(forget, [\d.]+ (s|min) ago\)", line)
