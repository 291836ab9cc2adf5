"""Checkpoints outside of a task: a directory, and errors that say what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.errors import UsageError
from memoflow.flow import saved
from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.standalone import Checkpoint, delete_model, load_model
from memoflow.flow.task.process import ARTIFACT_STORE, IDENTIFIER, OPTIONS, UID


@pytest.fixture(autouse=True)
def no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (UID, IDENTIFIER, OPTIONS, ARTIFACT_STORE):
        monkeypatch.delenv(name, raising=False)


def test_as_a_context_it_has_a_directory_which_goes_with_it(tmp_path: Path) -> None:
    with Checkpoint(temp_dir_root=str(tmp_path / "made")) as mine:
        directory = Path(str(mine.directory))
        assert directory.parent == tmp_path / "made"
        assert directory.is_dir()
    assert mine.directory is None
    assert not directory.exists()


def test_a_save_of_no_task_says_where_one_would_be(tmp_path: Path) -> None:
    with pytest.raises(CheckpointException, match="in a step with @checkpoint"):
        Checkpoint().save(tmp_path)


def test_without_a_directory_a_path_is_needed() -> None:
    with pytest.raises(ValueError, match="name a path"):
        Checkpoint().load("checkpoint/x")


def test_a_list_outside_of_a_task_needs_one() -> None:
    with pytest.raises(ValueError, match="needs task="):
        Checkpoint().list()


def test_a_model_needs_a_reference_and_a_path() -> None:
    with pytest.raises(ValueError, match="load_model needs"):
        load_model(None, "there")
    with pytest.raises(ValueError, match="delete_model needs"):
        delete_model(None)


def test_what_saves_for_a_task_says_so_where_there_is_none() -> None:
    with pytest.raises(UsageError, match=UID):
        saved.checkpointer()
