"""A disk that fails to read something has not damaged it."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from memoflow.backends import Local
from memoflow.cli.main import main
from memoflow.errors import BackendUnavailableError
from memoflow.names import Key
from memoflow.objects import is_whole
from memoflow.store import Adoption, Payload, Store

KEY = Key.of("model", "a")
MEMO = Key.of("memo", "F", "s")
Hurt = Callable[..., None]


class _Failing(io.FileIO):
    """A file whose first reads fail, as those from a bad sector do."""

    def __init__(self, *args: Any, left: dict[str, int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._left = left

    def readinto(self, buffer: Any) -> int | None:
        self._fail()
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self._fail()
        return super().readall()

    def _fail(self) -> None:
        if self._left["reads"] > 0:
            self._left["reads"] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture
def hurt(monkeypatch: pytest.MonkeyPatch) -> Hurt:
    """Let the next reads of a file fail: one, or all."""
    left: dict[str, dict[str, int]] = {}
    real = builtins.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, **kwargs: Any) -> Any:
        count = left.get(str(file))
        if count is None or mode != "rb":
            return real(file, mode, buffering, **kwargs)
        raw = _Failing(file, "rb", left=count, opener=kwargs.get("opener"))
        return raw if buffering == 0 else io.BufferedReader(raw)

    monkeypatch.setattr(builtins, "open", opened)
    return lambda path, reads=10**9: left.update({str(path): {"reads": reads}})


@pytest.fixture
def store(on_disk: Store, artifact: Callable[..., Adoption]) -> Store:
    on_disk.save(KEY, Payload(files={"f": os.urandom(100_000)}))
    on_disk.save(MEMO, Payload(adopted={"x": artifact(os.urandom(100_000))}))
    return on_disk


def files(store: Store) -> list[Path]:
    """Return the files of refs and blobs: one is packed by us, one by Metaflow."""
    assert isinstance(store.backend, Local)
    found = [*store.backend.list("blobs"), *store.backend.list("refs")]
    return [store.backend.path(each.name) for each in found]


@pytest.mark.parametrize("nth", range(4))
def test_what_can_be_read_when_that_is_tried_again_is_well(
    store: Store, hurt: Hurt, nth: int
) -> None:
    hurt(files(store)[nth], 1)
    assert store.verify(repair=True) == []


@pytest.mark.parametrize("nth", range(4))
def test_what_cannot_be_read_is_named_and_left_alone(store: Store, hurt: Hurt, nth: int) -> None:
    path = files(store)[nth]
    hurt(path)
    before = files(store)
    problems = store.verify(repair=True)
    assert problems
    assert all(each.unread and "cannot be read" in each.what for each in problems)
    assert all(str(path) in each.what and not each.done for each in problems)
    assert files(store) == before
    assert store.quarantined() == []


def test_the_exit_code_says_that_not_all_could_be_read(store: Store, hurt: Hurt) -> None:
    path = files(store)[0]
    hurt(path)
    done = CliRunner().invoke(main, ["--root", str(store.backend), "verify", "--read-data"])
    assert done.exit_code == 4
    assert str(path) in done.stdout
    assert "1 file could not be read and may be intact" in done.stdout
    assert "damaged" not in done.stdout


def test_the_rest_is_checked_all_the_same(store: Store, hurt: Hurt) -> None:
    unreadable, damaged = files(store)[:2]
    hurt(unreadable)
    damaged.chmod(0o600)
    damaged.write_bytes(b"damaged")
    found = {each.unread for each in store.verify(repair=True)}
    assert found == {True, False}


@pytest.mark.parametrize("nth", range(4))
def test_a_load_reads_again(store: Store, hurt: Hurt, tmp_path: Path, nth: int) -> None:
    hurt(files(store)[nth], 1)
    ref = store.find(KEY)
    assert ref is not None
    assert (store.load(ref, tmp_path / "out") / "f").stat().st_size == 100_000


def test_a_load_of_what_cannot_be_read_names_it_and_quarantines_nothing(
    store: Store, hurt: Hurt, tmp_path: Path
) -> None:
    (blob,) = [path for path in files(store) if path.parent.parent.name == "blobs"]
    hurt(blob)
    ref = store.find(KEY)
    assert ref is not None
    with pytest.raises(BackendUnavailableError, match=blob.name):
        store.load(ref, tmp_path / "out")
    assert store.quarantined() == []
    assert store.find(KEY) == ref


def test_an_artifact_that_cannot_be_read_is_not_taken_for_damaged(store: Store, hurt: Hurt) -> None:
    ref = store.find(MEMO)
    assert ref is not None
    (adopted,) = store.manifest(ref).adopted
    path = store.blob_path(adopted.blob)
    hurt(path)
    with pytest.raises(BackendUnavailableError, match=str(path)):
        is_whole(store.backend, adopted.blob)
