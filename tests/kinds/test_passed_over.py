"""What cannot be loaded is passed over, and what is said of it is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.errors import IntegrityError, NotFoundError, UnsignedError, condition
from memoflow.kinds import checkpoint
from memoflow.store import Payload, open_store


def test_one_that_others_signed_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = checkpoint.series("F", "s", "scope", "one")
    (tmp_path / "data").write_bytes(b"data")
    open_store(tmp_path / "store", cache_dir=tmp_path / "plain").append(
        series, Payload(tree=tmp_path / "data"), token="ab", meta={}
    )
    monkeypatch.setenv("METAFLOW_MEMOFLOW_SIGNING_KEY", "k" * 32)
    signed = open_store(tmp_path / "store", cache_dir=tmp_path / "signed")
    said: list[str] = []
    assert list(checkpoint.newest_first(signed, series, said.append)) == []
    assert "damaged" not in "".join(said)
    assert signed.quarantined() == []


def test_why_something_cannot_be_loaded_is_told_apart() -> None:
    assert condition(UnsignedError("x")) == "is not signed with a key of ours"
    assert condition(NotFoundError("x")) == "is gone"
    assert condition(IntegrityError("x")) == "is damaged"
