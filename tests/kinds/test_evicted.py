"""Of results that were removed, this machine remembers by whom and when."""

from __future__ import annotations

from datetime import timedelta

from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import evicted, memo, retention
from memoflow.names import Key
from memoflow.store import Store, open_store

CODE_KEY = memo.code_key("Sweep", "fit", Fingerprint.of(()))
INPUTS = (Part("input", "x", "1"),)


def recorded(store: Store) -> Key:
    return memo.record(store, CODE_KEY, (), memo.Result("Sweep/1/fit/2", 1.0, {}, {}, INPUTS)).key


def inputs_of(key: Key) -> str:
    return memo.results_key(CODE_KEY, INPUTS).parts[-1]


def test_a_result_that_gc_removes_is_remembered(tmp_path):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    key = recorded(store)
    retention.tidy(store, max_size_bytes=0)
    assert store.find(key) is None
    assert evicted.removals(store, CODE_KEY)[inputs_of(key)].by == "gc"


def test_a_dry_run_leaves_no_trace(tmp_path):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    recorded(store)
    retention.tidy(store, max_size_bytes=0, dry_run=True)
    assert evicted.removals(store, CODE_KEY) == {}


def test_what_is_no_result_leaves_no_trace(tmp_path):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    evicted.note(store, [CODE_KEY / "code", Key.of("model", "m", "00000001")], "gc")
    assert evicted.removals(store, CODE_KEY) == {}


def test_of_many_the_latest_are_remembered(tmp_path):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    keys = [CODE_KEY / "results" / f"{n:04}" / "refs" / "00000001" for n in range(300)]
    evicted.note(store, keys, "gc")
    evicted.note(store, [keys[0]], "forget")
    known = evicted.removals(store, CODE_KEY)
    assert len(known) == 256
    assert known["0000"].by == "forget"
    assert "0299" in known
    assert "0001" not in known


def test_a_damaged_fact_is_none(tmp_path):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    store.index.set({f"evicted:{CODE_KEY}": "[1, 2"})
    assert evicted.removals(store, CODE_KEY) == {}


def test_an_unused_result_is_remembered_like_one_over_the_budget(tmp_path):
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    key = recorded(store)
    retention.tidy(store, older_than=timedelta(seconds=-60))
    assert inputs_of(key) in evicted.removals(store, CODE_KEY)
