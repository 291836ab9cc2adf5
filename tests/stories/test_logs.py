"""The lines of a flow are records of one logger, by one level, and in the task's log as ever."""

from __future__ import annotations

from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import once

FLOW = """
    import logging
    from memoflow import memoize
    from metaflow import FlowSpec, step

    class Keeps(logging.Handler):
        def emit(self, record):
            with open("records.txt", "a") as file:
                file.write(f"{record.levelname} {record.getMessage()}\\n")

    logging.getLogger("memoflow").addHandler(Keeps())

    class Sweep(FlowSpec):
        @memoize
        @step
        def start(self):
            self.x = 1
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Sweep()
"""
LEVEL = "METAFLOW_MEMOFLOW_LOG_LEVEL"


@once
def world(project: Project) -> dict[str, Any]:
    project.write("flow.py", FLOW)
    seen = {}
    for name, env in {"miss": {}, "hit": {}, "quiet": {LEVEL: "warning"}}.items():
        ran = project.run(**env)
        logs = project.python("flow.py", "logs", f"{ran.run_id}/start").stdout
        seen[name] = {
            "printed": [line for line in ran.text.splitlines() if "[memoize]" in line],
            "log": [line for line in logs.splitlines() if "[memoize]" in line],
            "records": (project.folder / "records.txt").read_text().splitlines(),
        }
        (project.folder / "records.txt").write_text("")
    return seen


def test_a_miss_and_a_hit_are_printed_and_kept_in_the_log_of_the_task(world: dict[str, Any]):
    for name in ("miss", "hit"):
        assert len([line for line in world[name]["printed"] if f"{name}: " in line]) == 1
        assert len([line for line in world[name]["log"] if f"[memoize] {name}: " in line]) == 1


def test_they_are_records_at_the_level_info(world: dict[str, Any]):
    for name in ("miss", "hit"):
        found = [line for line in world[name]["records"] if f"[memoize] {name}: " in line]
        assert [line.split()[0] for line in found] == ["INFO"]


def test_the_level_warning_hides_them_everywhere(world: dict[str, Any]):
    assert world["quiet"] == {"printed": [], "log": [], "records": []}
