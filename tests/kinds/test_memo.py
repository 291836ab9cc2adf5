from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.errors import IntegrityError
from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import memo
from memoflow.store import Store, open_store

CODE = (Part("code", "train()", "1", "train.py:4"), Part("package", "numpy", "2.3.1"))
SCOPE = memo.scope_key("Sweep", "fit", Fingerprint.of(CODE))
ONE = (Part("input", "input", "d1", summary="1"), Part("parameter", "alpha", "d2"))
OTHER = (Part("input", "input", "d9", summary="9"), Part("parameter", "alpha", "d2"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def result(inputs=ONE, origin="Sweep/17/fit/3", refs=()):
    return memo.Result(origin, 1.5, {}, {"_foreach_var": None}, inputs, refs)


def test_what_was_recorded_is_found_for_equal_inputs(store):
    memo.record(store, SCOPE, CODE, result())
    entry = memo.find(store, SCOPE, ONE)
    assert entry is not None
    assert (entry.origin, entry.run_time_s) == ("Sweep/17/fit/3", 1.5)
    assert entry.inputs == ONE
    assert memo.find(store, SCOPE, OTHER) is None


def test_the_order_of_reads_does_not_matter(store):
    memo.record(store, SCOPE, CODE, result())
    assert memo.find(store, SCOPE, ONE[::-1]) is not None


def test_the_read_sets_of_a_scope_are_listed_once_each(store):
    memo.record(store, SCOPE, CODE, result())
    memo.record(store, SCOPE, CODE, result(OTHER))
    assert list(memo.read_sets(store, SCOPE)) == [("alpha", "input")]


def test_the_next_entry_replaces_the_one_before(store):
    first = memo.record(store, SCOPE, CODE, result())
    second = memo.record(store, SCOPE, CODE, result(origin="Sweep/18/fit/3"))
    assert memo.find(store, SCOPE, ONE).origin == "Sweep/18/fit/3"
    assert store.keys(SCOPE / "results") == [second.key]
    assert first.key != second.key


def test_the_parts_of_the_code_are_kept(store):
    ref = memo.record(store, SCOPE, CODE, result())
    assert memo.code_parts(store, store.manifest(ref)) == CODE


def test_a_class_that_changed_since_is_a_miss(store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model_of_memo.py").write_text("class Model:\n    def f(self):\n        return 1\n")
    refs = (("model_of_memo", "Model"),)
    memo.record(store, SCOPE, CODE, result(refs=refs))
    assert memo.find(store, SCOPE, ONE) is not None
    (tmp_path / "model_of_memo.py").write_text(
        "class Model:\n    def f(self):\n        return 22\n"
    )
    assert memo.find(store, SCOPE, ONE) is None


def test_an_expired_entry_is_not_found(store):
    memo.record(store, SCOPE, CODE, result(), expires=1.0)
    assert memo.find(store, SCOPE, ONE) is None


def test_a_damaged_entry_is_set_aside(store):
    ref = memo.record(store, SCOPE, CODE, result())
    assert isinstance(store.backend, Local)
    path = store.backend.path(f"refs/{ref.key}")
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        memo.find(store, SCOPE, ONE)
    assert memo.find(store, SCOPE, ONE) is None


def test_prune_forgets_the_read_sets_of_scopes_without_results(store):
    ref = memo.record(store, SCOPE, CODE, result())
    assert memo.prune(store, keep_newer=timedelta(0)) == 0
    store.forget(ref.key)
    assert memo.prune(store) == 0, "a result may be on its way"
    assert memo.prune(store, keep_newer=timedelta(0)) == 1
    assert list(memo.read_sets(store, SCOPE)) == []
