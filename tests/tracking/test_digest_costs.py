"""How often files are read for their digests, and how these are remembered."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from memoflow.tracking import FileDigests, UnreadableError, state_of

SETTLED_NS = 10**9  # since a file was written, so that its digest is trusted


class Known:
    """The facts that a machine remembers, and how many were told at each call."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}
        self.calls: list[int] = []

    def remember(self, facts: Mapping[str, str]) -> None:
        self.facts.update(facts)
        self.calls.append(len(facts))

    def digests(self) -> FileDigests:
        """Return them as another process has them."""
        return FileDigests(
            lambda names: {name: self.facts[name] for name in names if name in self.facts},
            self.remember,
        )

    def hash(self, paths: list[Path]) -> int:
        """Ask for the digests of files in another process; return how many were hashed."""
        before = sum(self.calls)
        digests = self.digests()
        with digests.many():
            for path in paths:
                state = state_of(str(path))
                assert state is not None
                digests.of_content(str(path), state)
        return sum(self.calls) - before


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}" for n in range(1000)]
    for path in paths:
        path.write_text(path.name)
    time.sleep(0.05)
    return paths


def test_a_file_is_hashed_once(known: Known, files: list[Path]) -> None:
    assert [known.hash(files), known.hash(files)] == [1000, 0]


def test_a_file_of_another_time_is_hashed_once_more(known: Known, files: list[Path]) -> None:
    known.hash(files)
    for path in files:
        os.utime(path, ns=(0, path.stat().st_mtime_ns - SETTLED_NS))
    time.sleep(0.05)
    assert [known.hash(files), known.hash(files)] == [1000, 0]


def test_digests_of_many_files_are_remembered_by_the_hundred(
    known: Known, files: list[Path]
) -> None:
    known.hash(files)
    assert len(known.calls) < 10


def test_digests_before_a_file_that_cannot_be_read_are_remembered(
    known: Known, files: list[Path]
) -> None:
    (*good, bad), digests = files[:2], known.digests()
    state = state_of(str(bad))
    assert state is not None
    known_state = state_of(str(good[0]))
    assert known_state is not None
    bad.unlink()
    with suppress(UnreadableError), digests.many():
        digests.of_content(str(good[0]), known_state)
        digests.of_content(str(bad), state)
    assert len(known.facts) == 1
