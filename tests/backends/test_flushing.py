"""What is to survive a power cut is flushed as deep as the system can."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from memoflow.backends import Local

F_FULLFSYNC = 51  # as on macOS


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note how files are flushed, on a system that has F_FULLFSYNC."""
    calls: list[str] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        calls.append("fsync")
        fsync(file)

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", F_FULLFSYNC, raising=False)
    monkeypatch.setattr(os, "fsync", noted)
    return calls


def answering(monkeypatch: pytest.MonkeyPatch, calls: list[str], code: int) -> None:
    real = fcntl.fcntl

    def answer(file: int, command: int, argument: int = 0) -> int:
        if command != F_FULLFSYNC:
            return real(file, command, argument)
        calls.append("full")
        if code:
            raise OSError(code, os.strerror(code))
        return 0

    monkeypatch.setattr(fcntl, "fcntl", answer)


def test_a_durable_write_goes_through_the_memory_of_the_disk(
    tmp_path: Path, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, flushed, 0)
    Local(tmp_path).write("a", b"data")
    assert flushed == ["full", "full"]  # the file, and its folder


def test_where_that_is_refused_it_is_fsync(
    tmp_path: Path, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, flushed, errno.ENOTSUP)
    Local(tmp_path).write("a", b"data")
    assert flushed == ["full", "fsync"] * 2


def test_a_flush_that_failed_is_not_asked_for_again(
    tmp_path: Path, flushed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, flushed, errno.EIO)
    with pytest.raises(Exception, match="cannot write"):
        Local(tmp_path).write("a", b"data")
    assert flushed == ["full"]
    assert Local(tmp_path).read("a") is None
