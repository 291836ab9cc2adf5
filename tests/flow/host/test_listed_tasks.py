"""The finished tasks of a run, by the names of their files, and opened by one file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memoflow.flow.host import listed_tasks
from memoflow.flow.host.listed_tasks import AttemptFiles, ListedTask


def of(*names: str) -> list[ListedTask]:
    files = AttemptFiles()
    for name in names:
        files.add(name)
    return files.finished()


@pytest.mark.parametrize(
    ("names", "finished"),
    [
        (["fit/2/0.attempt.json", "fit/2/0.DONE.lock"], [ListedTask("fit", "2", 0)]),
        (["fit/2/0.attempt.json"], []),
        (["fit/2/0.attempt.json", "fit/2/0.DONE.lock", "fit/2/1.attempt.json"], []),
        (
            ["fit/2/1.DONE.lock", "fit/2/0.attempt.json", "fit/2/1.attempt.json"],
            [ListedTask("fit", "2", 1)],
        ),
        (["fit/2/_meta/_self.json", "fit/2/0.task_stdout.log", "fit/2", "fit"], []),
    ],
)
def test_a_task_has_finished_if_its_latest_attempt_has(
    names: list[str], finished: list[ListedTask]
) -> None:
    assert of(*names) == finished


def test_tasks_are_in_order_of_their_numbers() -> None:
    names = [f"fit/{task}/0.{end}" for task in (10, 9) for end in ("attempt.json", "DONE.lock")]
    assert [each.task for each in of(*names)] == ["9", "10"]


def files_of(world: Any) -> AttemptFiles:
    files = AttemptFiles()
    folder = Path(world.datastore.datastore_root, "Sweep", world.run)
    for path in folder.rglob("*"):
        files.add(path.relative_to(folder).as_posix())
    return files


def test_tasks_that_metaflow_wrote_are_found_and_hold_their_artifacts(world: Any) -> None:
    for x in (1, 2):
        world.task("fit", x=x)
    world.writer("fit")  # It runs.
    found = listed_tasks.opened(world.datastore, world.run, files_of(world).finished())
    assert [datastore["x"] for datastore in found] == [1, 2]
    assert [datastore.step_name for datastore in found] == ["fit", "fit"]


def test_a_task_that_was_removed_since_is_left_out(world: Any) -> None:
    kept, removed = world.task("fit", x=1), world.task("fit", x=2)
    listed = files_of(world).finished()
    folder = Path(world.datastore.datastore_root, "Sweep", removed.pathspec)
    (folder / "0.data.json").unlink()
    found = listed_tasks.opened(world.datastore, world.run, listed)
    assert [datastore.pathspec for datastore in found] == [kept.pathspec]
