"""What anybody could write into a store stops no run, and is never taken for a result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memoflow.names import Digest
from tests.stories.conftest import Project

FLOW = """
    from metaflow import FlowSpec, memoize, step

    class Plain(FlowSpec):
        @memoize
        @step
        def start(self):
            self.x = 7
            self.next(self.end)

        @step
        def end(self):
            assert self.x == 7

    if __name__ == "__main__":
        Plain()
"""


def results(project: Project) -> list[Path]:
    return [
        path
        for path in (project.store / "refs" / "memo").rglob("*")
        if path.is_file() and "results" in path.parts
    ]


def crafted(project: Project, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what every result says, as somebody does who may write there and can count."""
    for path in results(project):
        fields = json.loads(path.read_bytes().splitlines()[0])
        change(fields)
        body = json.dumps(fields).encode()
        path.chmod(0o600)
        path.write_bytes(b"%b\n%b\n" % (body, Digest.of(body).encode()))


def sized(project: Project, name: str) -> None:
    path = project.store / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    os.truncate(path, 3 << 30)


def artifacts(value: Any) -> Callable[[dict[str, Any]], None]:
    def change(fields: dict[str, Any]) -> None:
        for name in fields["meta"]["artifacts"]:
            fields["meta"]["artifacts"][name] = value

    return change


def meta(**changed: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["meta"].update(changed)


stress = pytest.mark.stress
MISSES = {
    "no info": artifacts([{}, {}]),
    "odd info": artifacts([{"type": 1, "size": "x"}, {}]),
    "odd packing": artifacts([{"type": "int", "size": 9}, {"cas_version": 9}]),
    "far away": lambda fields: fields.update(created=1e17),
    "half a character": meta(origin="Plain/1/start/\ud800"),
    "another next step": meta(going_on={"_transition": [["elsewhere"], None]}),
    "more than a next step": meta(going_on={"_transition": [["end"], None], "next": 1}),
    "a name of Metaflow's": lambda fields: fields["meta"]["artifacts"].update(
        _task_ok=fields["meta"]["artifacts"]["x"]
    ),
    "no next step": meta(going_on={"_transition": [[1], None]}),
    "refers to half a character": meta(refers_to=["model/\ud800"]),
    "inputs of numbers": meta(inputs=[[1, 2, 3, 4, 5]]),
    "meta of lists": lambda fields: fields.update(meta={each: [] for each in fields["meta"]}),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if n in (0, 3) else stress) for n, name in enumerate(MISSES)],
)
def test_a_crafted_result_is_a_miss_and_the_next_run_hits(project: Project, name: str) -> None:
    project.write("flow.py", FLOW)
    project.run()
    crafted(project, MISSES[name])
    env = {"METAFLOW_MEMOFLOW_CACHE_DIR": str(project.folder / ".other")}
    ran = project.run(**env)
    assert ran.workers == ["start", "end"], ran.text
    assert "Traceback" not in ran.text
    assert project.run(**env).workers == ["end"]


def test_a_hit_says_whose_result_it_is_without_doing_more(project: Project) -> None:
    project.write("flow.py", FLOW)
    project.run()
    crafted(project, meta(origin="Plain/1/start/\x1b]52;c;aGk=\x07\u202e"))
    ran = project.run(METAFLOW_MEMOFLOW_CACHE_DIR=str(project.folder / ".other"))
    assert ran.workers == ["end"]
    assert "\x1b]52" not in ran.text
    assert "\u202e" not in ran.text
    assert ran.hits


@stress
@pytest.mark.parametrize(
    "name",
    ["gc/deleting/x/names", "gc/deletions", "gc/saving/x", "gc/condemned", "gc/housekeeping/1"],
)
def test_a_mark_that_is_larger_than_memory_stops_no_run(project: Project, name: str) -> None:
    project.write("flow.py", FLOW)
    project.run()
    sized(project, name)
    project.edit("flow.py", "self.x = 7", "self.x = 3 + 4")
    ran = project.run()
    assert ran.workers == ["start", "end"], ran.text
    assert "Traceback" not in ran.text
    assert project.run().workers == ["end"]
