"""A task in this process, whose attempts come one after the other, and are told to subprocesses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from memoflow.flow import artifact_store
from memoflow.flow.cards.journal import Journal
from memoflow.flow.checkpoint.checkpointer import Checkpointer, CheckpointOptions
from memoflow.flow.checkpoint.current_checkpoint import CurrentCheckpoint
from memoflow.flow.task.identity import Identity
from memoflow.flow.task.process import ARTIFACT_STORE
from memoflow.flow.task.scratch import Scratch
from memoflow.kinds import checkpoint
from memoflow.store.open import CACHE_VARIABLE
from tests.spooling import PATHSPEC

OTHER = "Train/2/start/9"
Attempts = Callable[..., CurrentCheckpoint]


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempts:
    """Begin the attempts of a task: each has loaded what the one before it saved."""
    where = artifact_store.of_datastore("local", str(tmp_path / "datastore"))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv(ARTIFACT_STORE, json.dumps({"flow": None, "default": asdict(where)}))
    numbers = {False: count(), True: count()}

    def begin(*, of_another_task: bool = False, **options: Any) -> CurrentCheckpoint:
        number = next(numbers[of_another_task])
        pathspec = OTHER if of_another_task else PATHSPEC
        identifier = "ba9876543210" if of_another_task else "0123456789ab"
        identity = Identity("Train", "start", "user:me", identifier, pathspec, pathspec, number)
        checkpointer = Checkpointer(where, identity, CheckpointOptions(**options), Journal())
        current = CurrentCheckpoint(
            checkpointer,
            scratch=Scratch(checkpoint.KIND, pathspec, number, str(tmp_path)),
            code=None,
            say=print,
            noticed=lambda: None,
        )
        with monkeypatch.context() as told:
            told.setattr("memoflow.flow.checkpoint.checkpointer.tell_subprocesses", lambda: None)
            checkpointer.tell_subprocesses()
        current.load_latest("fresh", "warn")
        return current

    return begin
