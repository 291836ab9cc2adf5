"""Hits that the scheduler writes down by itself, and what becomes of those that it cannot."""

from __future__ import annotations

import re

import pytest

from tests.s3 import Server
from tests.service import serving
from tests.stories.conftest import Project

# As many records of the scheduler's fail in the middle as the file has lines.
BREAKING = """
    import os, sys
    from metaflow.plugins.metadata_providers.local import LocalMetadataProvider as Provider

    register = Provider.register_data_artifacts

    def broken(self, run_id, step_name, *rest):
        if "run" in sys.argv and step_name != "_parameters" and os.path.exists(".broken"):
            with open(".broken", "r+") as file:
                left = file.readlines()[1:]
                file.seek(0)
                file.truncate()
                file.writelines(left)
            if not left:
                os.remove(".broken")
            raise RuntimeError("the disk is full")
        register(self, run_id, step_name, *rest)

    Provider.register_data_artifacts = broken
"""
FLOW = """
    import os
    from metaflow import FlowSpec, memoize, step
    import breaking

    class Sweep(FlowSpec):
        @step
        def start(self):
            self.items = [1, 2, 3]
            self.next(self.fit, foreach="items")

        @memoize
        @step
        def fit(self):
            self.square = self.input ** 2
            self.next(self.score)

        @memoize
        @step
        def score(self):
            self.half = self.square / 2
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.total = sum(each.half for each in inputs)
            self.next(self.end)

        @step
        def end(self):
            print("TOTAL", self.total)

    if __name__ == "__main__":
        Sweep()
"""


@pytest.fixture
def sweep(project: Project) -> Project:
    project.write("breaking.py", BREAKING)
    project.write("flow.py", FLOW)
    project.run()
    return project


def test_hits_start_no_process(sweep: Project) -> None:
    again = sweep.run()
    assert again.workers == ["start", "end"]
    assert len(again.hits) == 7
    (scheduler,) = set(re.findall(r"\(pid (\d+)\)\] \[memoize\] hit", again.text))
    assert f"(pid {scheduler})] Task finished successfully." in again.text


def test_a_hit_that_cannot_be_written_down_is_a_workers_task(sweep: Project) -> None:
    sweep.write(".broken", "x\nx\n")
    again = sweep.run()
    assert "TOTAL 7.0" in again.text
    assert again.text.count("hit, but it could not be written down: RuntimeError: the disk") == 2
    assert again.workers == ["start", "fit", "fit", "end"]
    told = sweep.ask(
        f"""
        tasks = [task for step in Run("Sweep/{again.run_id}") for task in step]
        answer = [[task.successful, task.current_attempt] for task in tasks]
        """
    )
    assert told == [[True, 0]] * 9
    assert len(sweep.run().hits) == 7


def test_a_hit_that_cannot_be_written_down_fails_a_run_that_may_only_hit(sweep: Project) -> None:
    for name in ("start", "end"):
        sweep.edit("flow.py", f"@step\n    def {name}", f"@memoize\n    @step\n    def {name}")
    sweep.run()
    sweep.write(".broken", "x\n")
    failed = sweep.run("--memo=only", ok=False)
    assert failed.code != 0
    assert "found, but not written down: RuntimeError: the disk is full" in failed.text
    assert sweep.run("--memo=only").workers == []


def test_a_failed_run_leaves_no_more_than_is_resumed(sweep: Project) -> None:
    """Ids that were made ahead belong to tasks that never began."""
    sweep.edit("flow.py", 'print("TOTAL", self.total)', "assert os.environ.get('GOOD')")
    failed = sweep.run(ok=False)
    assert len(failed.hits) == 7
    resumed = sweep.run("resume", GOOD="1")
    assert resumed.workers.count("end") == 1


def test_far_away_each_hit_takes_few_requests(project: Project, s3_server: Server) -> None:
    """What a hit more costs, beyond the four requests by which Metaflow makes a task known."""
    project.write("breaking.py", "")
    project.write("flow.py", FLOW.replace("[1, 2, 3]", "list(range(int(os.environ['SPLITS'])))"))
    bucket = s3_server.bucket()
    with serving() as far:
        project.env |= s3_server.environment(bucket) | far.environment()
        counts = []
        for splits in ("12", "4", "12"):
            before = far.requests.copy()
            ran = project.run(SPLITS=splits)
            assert ran.code == 0
            counts.append(far.requests - before)
        assert len(ran.hits) == 25
    few, many = counts[1:]
    more = {name: (many[name] - few[name]) / 16 for name in many if "heartbeat" not in name}
    assert sum(more.values()) <= 5, more
