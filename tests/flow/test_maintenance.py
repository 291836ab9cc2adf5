"""Tidying the store when a run ends: at most once an hour, and only by a budget that is clear."""

from __future__ import annotations

from pathlib import Path

import pytest
from metaflow import metaflow_config

from memoflow.flow import maintenance
from memoflow.flow.maintenance import collect
from memoflow.store import Store, open_store
from tests.said import kept_in


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_MAX_SIZE", None, raising=False)
    monkeypatch.setattr(maintenance, "_said", set())
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def test_it_is_done_once_an_hour(store: Store) -> None:
    collect(store, pytest.fail)
    assert not store.housekeeping_due()


def test_a_budget_that_cannot_be_understood_removes_nothing_and_is_said_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metaflow_config, "MEMOFLOW_MAX_SIZE", "lots")
    said: list[str] = []
    collect(store, kept_in(said))
    collect(store, kept_in(said))
    (line,) = said
    assert line.startswith("nothing is evicted: METAFLOW_MEMOFLOW_MAX_SIZE")
    assert store.housekeeping_due()  # It was not claimed.
