"""The store that `memoflow.open_store` returns: its entries, figures, decisions and maintenance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import memoflow
from memoflow.catalog.store import OpenedStore
from memoflow.errors import BadKeyError, NotFoundError, UsageError, WrongTypeError
from memoflow.names import Key
from memoflow.store import Payload


def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def store(tmp_path: Path) -> OpenedStore:
    """A store with the results of three calls and a model."""
    store = memoflow.open_store(tmp_path / "store", create=True)
    twice = memoflow.memoize(double, store=store)
    assert [twice(1), twice(2), twice(3), twice(1)] == [2, 4, 6, 2]
    (tmp_path / "weights").write_text("w" * 5000)
    store.save("model/Train/fit/9f2c", Payload(tree=tmp_path / "weights"))
    return store


def test_entries_are_all_that_people_saved(store: OpenedStore):
    assert [each.kind for each in store.entries()] == ["memo", "memo", "memo", "model"]


def test_entries_are_chosen_by_name_and_kind(store: OpenedStore):
    module = double.__module__
    assert len(store.entries(f"{module}/double")) == 3
    assert [each.key for each in store.entries(kind="model")] == ["model/Train/fit/9f2c"]
    (one,) = store.entries("model/Train/fit/9f2c")
    assert store.find(one.key) == one.ref
    assert store.entries(one.id, kind="memo") == []


def test_a_name_that_matches_nothing_is_an_error(store: OpenedStore):
    with pytest.raises(NotFoundError, match="nowhere"):
        store.entries("nowhere")


def test_stats_count_hits_and_sizes(store: OpenedStore):
    figures = store.stats()
    assert (figures.hits, figures.misses, len(figures.entries)) == (1, 3, 4)
    assert figures.size_bytes == sum(each.ref.size_bytes for each in figures.entries) + sum(
        each.size_bytes for each in figures.others
    )


def test_gc_tells_in_a_dry_run_what_it_then_evicts(store: OpenedStore):
    plan = store.gc(max_size=0, dry_run=True)
    assert (len(plan.entries), plan.dry_run) == (3, True)
    assert len(store.entries()) == 4
    done = store.gc(max_size=0)
    assert {ref.key for ref in done.entries} == {ref.key for ref in plan.entries}
    assert len(done.reasons) == 3
    assert [each.kind for each in store.entries()] == ["model"]


def test_gc_takes_the_kinds_that_are_named(store: OpenedStore):
    done = store.gc(max_size="0B", kinds=["model"])
    assert [str(ref.key) for ref in done.entries] == ["model/Train/fit/9f2c"]
    assert done.freed_bytes >= 5000
    assert {each.kind for each in store.entries()} == {"memo"}


def test_gc_without_rules_keeps_what_has_not_expired(store: OpenedStore):
    assert store.gc(older_than=timedelta(days=1)).entries == ()
    assert len(store.entries()) == 4


def test_why_of_an_unknown_run_says_so(store: OpenedStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("USERNAME", "me")
    monkeypatch.chdir(store.backend.path("format.json").parent)
    with pytest.raises(NotFoundError, match="Nowhere/1"):
        store.why("Nowhere/1")


WRONG: dict[str, Callable[[OpenedStore], object]] = {
    "find": lambda store: store.find(3),
    "lookup": lambda store: store.lookup(b"memo/a"),
    "latest": lambda store: store.latest(3),
    "series": lambda store: store.series(3),
    "save": lambda store: store.save(3, Payload()),
    "keys": lambda store: store.keys(3),
    "forget": lambda store: store.forget(None),
    "manifest": lambda store: store.manifest("memo/a"),
    "meta": lambda store: store.meta("memo/a"),
    "is_there": lambda store: store.is_there("memo/a"),
    "load": lambda store: store.load("memo/a", "."),
    "entries": lambda store: store.entries(3),
    "entries: kind": lambda store: store.entries(kind=3),
    "why": lambda store: store.why(3),
    "gc: older_than": lambda store: store.gc(older_than=3),
    "gc: max_size": lambda store: store.gc(max_size=[]),
    "gc: kinds": lambda store: store.gc(kinds=3),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_is_a_type_error(name: str, store: OpenedStore):
    with pytest.raises(WrongTypeError):
        WRONG[name](store)
    assert len(store.entries()) == 4


def test_a_key_may_be_a_text(store: OpenedStore):
    text = "model/Train/fit/9f2c"
    assert store.find(text) == store.find(Key.parse(text)) is not None
    assert store.keys("model") == [Key.parse(text)]
    store.forget(text)
    assert store.find(text) is None


@pytest.mark.parametrize("text", ["", "../x", "a//b"])
def test_a_text_that_is_no_key_is_an_error(text: str, store: OpenedStore):
    with pytest.raises(BadKeyError):
        store.find(text)


@pytest.mark.parametrize("rules", [{"kinds": ["memos"]}, {"max_size": -1}, {"max_size": "5"}])
def test_rules_that_cannot_be_evict_nothing(rules: dict[str, object], store: OpenedStore):
    with pytest.raises(UsageError):
        store.gc(**rules)
    assert len(store.entries()) == 4
