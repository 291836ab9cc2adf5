"""`save(wait=False)` on S3: the step goes on at once, and nothing that it asked for is lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.s3 import Proxy, Server, serving
from tests.stories.conftest import Project, Ran
from tests.stories.world import NOTES, notes

FLOW = """
    import os, signal, subprocess, sys
    from pathlib import Path
    from metaflow import FlowSpec, Parameter, checkpoint, current, retry, step
    from notes import note, tree

    class Train(FlowSpec):
        how = Parameter("how", default="raise")

        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @step
        def start(self):
            first = 0
            if current.checkpoint.is_loaded:
                first = int(Path(current.checkpoint.directory, "epoch").read_text())
                note(resumed_from=first, loaded=current.checkpoint.info.to_dict())
            saved = []
            for epoch in range(first + 1, first + 6):
                Path(current.checkpoint.directory, "epoch").write_text(str(epoch))
                saved.append(current.checkpoint.save(metadata={"epoch": epoch}, wait=False))
            note(**{f"saved by {current.retry_count}": saved})
            if current.retry_count == 0:
                if self.how == "raise":
                    raise ValueError("diverged")
                if self.how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.how == "exit":
                    os._exit(1)
            if self.how == "child":
                subprocess.run([sys.executable, "child.py"], check=True)
            self.listed = current.checkpoint.list() if self.how != "end" else []
            note(listed=self.listed)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Train()
"""

CHILD = """
    import os
    from pathlib import Path
    from metaflow import Checkpoint
    from notes import note

    Path("child.txt").write_text("child")
    note(by_child=Checkpoint().save("child.txt", wait=False), child_sees=len(Checkpoint().list()))
    Path("child.txt").write_text("child again")
    note(by_child_last=Checkpoint().save("child.txt", wait=False))
    os._exit(0)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def elsewhere(project: Project, server: Server) -> Project:
    """A project whose flows keep their data in a bucket."""
    project.env |= server.environment(server.bucket())
    project.write("notes.py", NOTES)
    project.write("flow.py", FLOW)
    project.write("child.py", CHILD)
    return project


def epochs(references: list[dict[str, Any]]) -> list[int]:
    return [each["metadata"]["epoch"] for each in references]


@pytest.mark.stress
@pytest.mark.parametrize("how", ["raise", "kill", "exit"])
def test_the_retry_goes_on_from_the_last_save(elsewhere: Project, how: str) -> None:
    elsewhere.run("--how", how)
    seen = notes(elsewhere)
    assert seen["resumed_from"] == 5
    assert epochs(seen["listed"]) == list(range(10, 0, -1))


def test_what_it_returned_is_what_is_there_in_the_end(elsewhere: Project) -> None:
    elsewhere.run()
    seen = notes(elsewhere)
    assert seen["listed"] == (seen["saved by 0"] + seen["saved by 1"])[::-1]


@pytest.mark.stress
def test_a_subprocess_and_its_task_see_each_others(elsewhere: Project) -> None:
    elsewhere.run("--how", "child")
    seen = notes(elsewhere)
    assert seen["child_sees"] == 6
    # The last is uploaded by the task, which outlived the process that saved it.
    assert [each["key"] for each in seen["listed"][:2]] == [
        seen["by_child_last"]["key"],
        seen["by_child"]["key"],
    ]


@pytest.fixture
def refused(elsewhere: Project, server: Server) -> Iterator[Ran]:
    """A run whose attempts save once each, on a server that takes no checkpoints."""
    proxy = Proxy(server.url)
    proxy.refuses = lambda method, path: method == "PUT" and "refs/checkpoint" in path
    elsewhere.edit("flow.py", "range(first + 1, first + 6)", "range(1, 2)")
    elsewhere.edit("flow.py", "@checkpoint\n", "@checkpoint(load_policy='eager')\n")
    with proxy.running() as url:
        yield elsewhere.run("--how", "end", ok=False, METAFLOW_S3_ENDPOINT_URL=url)


@pytest.mark.stress
def test_a_task_whose_saves_cannot_be_uploaded_fails(refused: Ran) -> None:
    assert refused.code != 0
    assert "was saved without waiting, and could not be uploaded" in refused.text


@pytest.mark.stress
def test_what_a_failed_run_could_not_upload_is_not_lost(elsewhere: Project, refused: Ran) -> None:
    assert "resumed_from" not in notes(elsewhere)
    ran = elsewhere.run("--how", "end")
    assert "which an attempt had left on this machine" in ran.text
    assert notes(elsewhere)["resumed_from"] == 1
