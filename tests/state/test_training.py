"""A training that is killed again and again ends with the weights of one that was not."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
training = pytest.importorskip("tests.training")
FORK = multiprocessing.get_context("fork")


def _started(folder: Path, attempt: int) -> Any:
    # Forked, as to import torch takes longer than all of the training; it has no threads here.
    child = FORK.Process(target=training.run, args=(folder, attempt))
    child.start()
    return child


def _killed(folder: Path, attempt: int, chance: random.Random) -> int:
    """Begin an attempt, kill it at a random moment, and return the step that it began from."""
    child = _started(folder, attempt)
    try:
        until = time.monotonic() + PATIENCE_S
        while not (folder / f"began-{attempt}").exists():
            assert time.monotonic() < until
            assert child.is_alive()
            time.sleep(0.005)
        time.sleep(chance.random() * 0.8)  # The first save takes a part of it.
    finally:
        child.kill()
        child.join()
    return int((folder / f"began-{attempt}").read_text() or 0)


def _run(tmp_path: Path, kills: int) -> None:
    chance, folder = random.Random(3), tmp_path / "killed"
    began = [_killed(folder, attempt, chance) for attempt in range(kills)]
    assert began == sorted(began)
    assert began[-1] > 0
    for place, attempt in ((folder, kills), (tmp_path / "whole", 0)):
        child = _started(place, attempt)
        child.join(PATIENCE_S)
        assert child.exitcode == 0
    killed, whole = (torch.load(place / "weights.pt") for place in (folder, tmp_path / "whole"))
    assert killed.keys() == whole.keys()
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    _run(tmp_path, 3)


@pytest.mark.stress
def test_a_training_killed_50_times_ends_with_the_same_weights(tmp_path: Path) -> None:
    _run(tmp_path, 50)
