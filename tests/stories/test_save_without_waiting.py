"""`save(wait=False)` on S3: the step goes on at once, and nothing that it asked for is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.s3 import Proxy, serving
from tests.stories.clouds import store_in_a_bucket
from tests.stories.conftest import Project
from tests.stories.world import notes, once

FLOW = """
    import os, signal, subprocess, sys
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, retry, step
    from notes import note, tree

    def train(self, how):
        first = 0
        if current.checkpoint.is_loaded:
            first = int(Path(current.checkpoint.directory, "epoch").read_text())
            note(**{f"{how} resumed from": first})
        saved = []
        for epoch in range(first + 1, first + 6):
            Path(current.checkpoint.directory, "epoch").write_text(str(epoch))
            saved.append(current.checkpoint.save(metadata={"epoch": epoch}, wait=False))
        note(**{f"{how} saved by {current.retry_count}": saved})
        if current.retry_count == 0:
            if how == "raise":
                raise ValueError("diverged")
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "exit":
                os._exit(1)
        if how == "child":
            subprocess.run([sys.executable, "child.py"], check=True)
        note(**{f"{how} listed": current.checkpoint.list()})

    class Train(FlowSpec):
        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @step
        def start(self):
            train(self, "raise")
            self.next(self.kill)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @step
        def kill(self):
            train(self, "kill")
            self.next(self.leave)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint
        @step
        def leave(self):
            train(self, "exit")
            self.next(self.child)

        @checkpoint
        @step
        def child(self):
            train(self, "child")
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Train()
"""

REFUSED = """
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, retry, step
    from notes import note

    class Refused(FlowSpec):
        @retry(times=1, minutes_between_retries=0)
        @checkpoint(load_policy="eager")
        @step
        def start(self):
            if current.checkpoint.is_loaded:
                note(resumed_from=Path(current.checkpoint.directory, "epoch").read_text())
            Path(current.checkpoint.directory, "epoch").write_text("1")
            current.checkpoint.save(wait=False)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Refused()
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


@once
def trained(project: Project) -> dict[str, Any]:
    """What attempts that end in each way did, on a store that is elsewhere."""
    project.write("flow.py", FLOW)
    project.write("child.py", CHILD)
    with serving() as server:
        project.env |= store_in_a_bucket(server)
        project.run()
    return notes(project)


def epochs(references: list[dict[str, Any]]) -> list[int]:
    return [each["metadata"]["epoch"] for each in references]


@pytest.mark.parametrize("how", ["raise", "kill", "exit"])
def test_the_retry_goes_on_from_the_last_save(trained: dict[str, Any], how: str) -> None:
    assert trained[f"{how} resumed from"] == 5
    assert epochs(trained[f"{how} listed"]) == list(range(10, 0, -1))


@pytest.mark.parametrize("how", ["raise", "kill", "exit"])
def test_what_it_returned_is_what_is_there_in_the_end(trained: dict[str, Any], how: str) -> None:
    saved = trained[f"{how} saved by 0"] + trained[f"{how} saved by 1"]
    assert trained[f"{how} listed"] == saved[::-1]


def test_a_subprocess_and_its_task_see_each_others(trained: dict[str, Any]) -> None:
    assert trained["child_sees"] == 6
    # The last is uploaded by the task, which outlived the process that saved it.
    assert [each["key"] for each in trained["child listed"][:2]] == [
        trained["by_child_last"]["key"],
        trained["by_child"]["key"],
    ]


@once
def refused(project: Project) -> dict[str, Any]:
    """A run whose attempts save once each, on a server that takes no checkpoints, and the next."""
    project.write("flow.py", REFUSED)
    with serving() as server:
        project.env |= store_in_a_bucket(server)
        proxy = Proxy(server.url)
        proxy.refuses = lambda method, path: method == "PUT" and "refs/checkpoint" in path
        with proxy.running() as url:
            first = project.run(ok=False, METAFLOW_S3_ENDPOINT_URL=url)
        seen = notes(project)
        return {"first": first, "seen": seen, "next": project.run(), "after": notes(project)}


@pytest.mark.stress
def test_a_task_whose_saves_cannot_be_uploaded_fails(refused: dict[str, Any]) -> None:
    assert refused["first"]["code"] != 0
    assert "was saved without waiting, and could not be stored" in refused["first"]["text"]


@pytest.mark.stress
def test_what_a_failed_run_could_not_upload_is_not_lost(refused: dict[str, Any]) -> None:
    assert "resumed_from" not in refused["seen"]
    assert "which an attempt had left on this machine" in refused["next"]["text"]
    assert refused["after"]["resumed_from"] == "1"
