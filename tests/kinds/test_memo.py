from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Local, Memory
from memoflow.errors import IntegrityError
from memoflow.fingerprint import Fingerprint, Part
from memoflow.index import Index
from memoflow.kinds import memo
from memoflow.kinds.candidates import Candidates
from memoflow.kinds.nearest import EarlierResults
from memoflow.store import Payload, Store, open_store
from tests.faults import Faulty

CODE = (Part("code", "train()", "1", "train.py:4"), Part("package", "numpy", "2.3.1"))
CODE_KEY = memo.code_key("Sweep", "fit", Fingerprint.of(CODE))
ONE = (Part("input", "input", "d1", summary="1"), Part("parameter", "alpha", "d2"))
OTHER = (Part("input", "input", "d9", summary="9"), Part("parameter", "alpha", "d2"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def result(inputs=ONE, origin="Sweep/17/fit/3", refs=()):
    return memo.Result(origin, 1.5, {}, {"_foreach_var": None}, inputs, refs)


def test_what_was_recorded_is_found_for_equal_inputs(store):
    memo.record(store, CODE_KEY, CODE, result())
    entry = Candidates(store, CODE_KEY).find(ONE)
    assert entry is not None
    assert (entry.origin, entry.run_time_s) == ("Sweep/17/fit/3", 1.5)
    assert entry.inputs == ONE
    assert Candidates(store, CODE_KEY).find(OTHER) is None


def test_a_file_that_a_result_lists_and_does_not_have_is_damage(store, tmp_path):
    ref = memo.record(store, CODE_KEY, CODE, result())
    entry = replace(memo.read(store, ref), files={"out.csv": "xxh3:0"})
    with pytest.raises(IntegrityError, match=r"lists out\.csv"):
        memo.restore_file(store, entry, "out.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_order_of_reads_does_not_matter(store):
    memo.record(store, CODE_KEY, CODE, result())
    assert Candidates(store, CODE_KEY).find(ONE[::-1]) is not None


def test_the_read_sets_of_a_scope_are_listed_once_each(store):
    memo.record(store, CODE_KEY, CODE, result())
    memo.record(store, CODE_KEY, CODE, result(OTHER))
    assert list(Candidates(store, CODE_KEY).read_sets()) == [("alpha", "input")]


def test_the_next_entry_replaces_the_one_before(store):
    first = memo.record(store, CODE_KEY, CODE, result())
    second = memo.record(store, CODE_KEY, CODE, result(origin="Sweep/18/fit/3"))
    assert Candidates(store, CODE_KEY).find(ONE).origin == "Sweep/18/fit/3"
    assert store.keys(CODE_KEY / "results") == [second.key]
    assert first.key != second.key


def test_the_parts_of_the_code_are_kept(store):
    ref = memo.record(store, CODE_KEY, CODE, result())
    assert memo.code_parts(store, ref.key) == CODE


def test_a_class_that_changed_since_is_a_miss(store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "model_of_memo.py").write_text("class Model:\n    def f(self):\n        return 1\n")
    refs = (("model_of_memo", "Model"),)
    memo.record(store, CODE_KEY, CODE, result(refs=refs))
    assert Candidates(store, CODE_KEY).find(ONE) is not None
    (tmp_path / "model_of_memo.py").write_text(
        "class Model:\n    def f(self):\n        return 22\n"
    )
    assert Candidates(store, CODE_KEY).find(ONE) is None


def test_an_expired_entry_is_not_found(store):
    memo.record(store, CODE_KEY, CODE, result(), expires=1.0)
    assert Candidates(store, CODE_KEY).find(ONE) is None


def test_a_damaged_entry_is_quarantined(store):
    ref = memo.record(store, CODE_KEY, CODE, result())
    assert isinstance(store.backend, Local)
    path = store.backend.path(f"refs/{ref.key}")
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        Candidates(store, CODE_KEY).find(ONE)
    assert Candidates(store, CODE_KEY).find(ONE) is None


GOOD = {
    "origin": "F/1/s/2",
    "run_time_s": 1.0,
    "artifacts": {},
    "going_on": {},
    "inputs": [],
    "refs": [],
}
FOREIGN = [
    {},
    {"origin": 1},
    {"run_time_s": "long"},
    {"artifacts": 5},
    {"artifacts": {"x": [{}]}},
    {"artifacts": {"of no blob": [{}, {}]}},
    {"going_on": []},
    {"going_on": {"_transition": 5}},
    {"going_on": {"_transition": [[1], None]}},
    {"going_on": {"num_parallel": "many"}},
    {"inputs": 1},
    {"inputs": [["a", "b"]]},
    {"inputs": [["a", "b", "c", {}, []]]},
    {"inputs": ["abc"]},
    {"refs": [["one"]]},
    {"refs": [[1, 2]]},
    {"refers_to": 5},
    {"refers_to": [[]]},
]


@pytest.mark.parametrize("changed", FOREIGN, ids=str)
def test_notes_that_no_step_left_are_an_error_and_then_recorded_anew(store, changed):
    key = CODE_KEY / "results" / Fingerprint.of(ONE).hex / Fingerprint.of(()).hex / "00000001"
    store.save(key, Payload(), meta=GOOD | changed if changed else {})
    with pytest.raises(IntegrityError, match="is no result of a memoized step"):
        Candidates(store, CODE_KEY).find(ONE)
    memo.record(store, CODE_KEY, CODE, result())
    assert Candidates(store, CODE_KEY).find(ONE) is not None


@pytest.mark.parametrize("names", [None, 5, "abc", [1], [[]], {"a": 1}])
def test_a_foreign_read_set_is_passed_over(store, names):
    store.save(CODE_KEY / "reads" / "foreign", Payload(), meta={"names": names})
    memo.record(store, CODE_KEY, CODE, result())
    assert list(Candidates(store, CODE_KEY).read_sets()) == [("alpha", "input")]


@pytest.mark.parametrize("refers_to", [None, 5, [[]], {"a": 1}])
def test_what_foreign_notes_refer_to_counts_for_nothing(store, refers_to):
    store.save(CODE_KEY / "results" / "i" / "r" / "1", Payload(), meta={"refers_to": refers_to})
    assert memo.references(store) == set()


def test_what_is_kept_of_scopes_without_results_is_orphaned(store):
    ref = memo.record(store, CODE_KEY, CODE, result())
    assert memo.orphans(store, keep_newer=timedelta(0)) == []
    rest = [key for key in store.keys(CODE_KEY) if key != ref.key]
    assert memo.orphans(store, [ref.key], keep_newer=timedelta(0)) == rest
    store.forget(ref.key)
    assert memo.orphans(store) == [], "a result may be on its way"
    assert memo.orphans(store, keep_newer=timedelta(0)) == rest


def test_the_text_of_code_is_kept_once_for_all_results_of_a_scope(store):
    code = Part("code", "train()", "1", "train.py:4", source="def train():\n    return 1")
    scope = memo.code_key("Sweep", "fit", Fingerprint.of([code]))
    refs = [memo.record(store, scope, [code], result(inputs)) for inputs in (ONE, OTHER)]
    assert [memo.code_parts(store, ref.key)[0].source for ref in refs] == [code.source] * 2
    assert store.find(scope / "code") is not None
    assert all(not store.manifest(ref).files for ref in refs)


def test_text_beyond_a_size_is_not_kept(store):
    long = Part("code", "a()", "1", source="x" * (64 << 10) + "x")
    many = [Part("code", f"b{n}()", "1", source="x" * (60 << 10)) for n in range(20)]
    parts = Fingerprint.of([long, *many]).parts
    ref = memo.record(store, CODE_KEY, parts, result())
    kept = memo.code_parts(store, ref.key)
    assert kept == parts
    sizes = [len(part.source) for part in kept]
    assert sizes[0] == 0
    assert (1 << 20) - (64 << 10) < sum(sizes) <= 1 << 20


def test_text_that_is_no_unicode_is_kept(store):
    part = Part("code", "a()", "1", source="'\udce4'")
    ref = memo.record(store, CODE_KEY, [part], result())
    assert memo.code_parts(store, ref.key)[0].source == part.source


def test_a_result_that_has_its_parts_beside_it_is_explained_by_them(store):
    kept = json.dumps([part.to_json() for part in CODE]).encode()
    ref = store.append(CODE_KEY / "results" / "a" / "b", Payload(files={"parts.json": kept}))
    assert memo.code_parts(store, ref.key) == CODE


@pytest.mark.parametrize(
    ("parts", "sources"),
    [
        (b"[1]", b"{}"),
        (b'[["code"]]', b"{}"),
        (b'[["code", "a", 1, "", ""]]', b"{}"),
        (b'[["code", "a", "1", "", ""]]', b'{"code a 1": 1}'),
        (b'[["code", "a", "1", "", ""]]', b"[]"),
        (b"[" * 9999, b"{}"),
        (b"\xff", b"{}"),
    ],
)
def test_parts_that_nobody_of_us_wrote_are_damage(store, parts, sources):
    store.save(CODE_KEY / "code", Payload(files={"parts.json": parts, "sources.json": sources}))
    ref = memo.record(store, CODE_KEY, CODE, result())
    with pytest.raises(IntegrityError):
        memo.code_parts(store, ref.key)


def test_what_is_not_known_of_the_code_any_more_is_empty(store):
    ref = memo.record(store, CODE_KEY, CODE, result())
    store.forget(CODE_KEY / "code")
    assert memo.code_parts(store, ref.key) == ()


def test_what_is_kept_of_the_code_is_used_when_its_results_are(store, tmp_path):
    memo.record(store, CODE_KEY, CODE, result())
    store.index.flush()
    clock = time.time() + 3600
    later = Store(
        store.id, store.backend, Index(tmp_path / "cache" / "x.sqlite", clock=lambda: clock)
    )
    later.reindex()
    candidates = Candidates(later, CODE_KEY)
    found = candidates.find(ONE)
    assert isinstance(found, memo.MemoEntry)
    candidates.touch(found)
    later.index.flush()
    assert later.index.entries(CODE_KEY)[str(CODE_KEY / "code")].used == int(clock)


def test_a_class_of_an_input_that_changed_is_told(store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "model_of_why.py"
    refs = (("model_of_why", "Model"),)
    module.write_text("class Model:\n    def f(self):\n        return 1\n")
    memo.record(store, CODE_KEY, CODE, result(refs=refs))
    module.write_text("class Model:\n    def f(self):\n        return 22\n")
    found = EarlierResults(store, CODE_KEY, CODE).nearest(ONE)
    assert [str(each) for each in found.differences] == [
        "code of Model.f() changed (model_of_why.py:2)"
    ]
    assert "+    return 22" in found.differences[0].diff
    ref = memo.record(store, CODE_KEY, CODE, result(refs=refs))
    assert EarlierResults(store, CODE_KEY, CODE, result=ref.key).nearest(ONE) == found


def test_what_was_recorded_later_is_not_compared_with(store):
    memo.record(store, CODE_KEY, CODE, result())
    earlier = EarlierResults(store, CODE_KEY, CODE, before=time.time() - 60)
    assert earlier.nearest(OTHER) is None


def test_a_damaged_result_is_passed_over(store):
    memo.record(store, CODE_KEY, CODE, result(origin="Sweep/1/fit/1"))
    ref = memo.record(store, CODE_KEY, CODE, result(OTHER, "Sweep/1/fit/2"))
    path = store.backend.path(f"refs/{ref.key}")
    path.write_bytes(path.read_bytes()[:-9])
    inputs = (Part("input", "input", "d7"), ONE[1])
    found = EarlierResults(store, CODE_KEY, CODE).nearest(inputs)
    assert found.origin == "Sweep/1/fit/1"


def test_asking_why_reads_a_bounded_number_of_results(tmp_path):
    backend = Faulty(Memory())
    store = open_store(backend, cache_dir=tmp_path)
    for n in range(520):
        memo.record(
            store, CODE_KEY, CODE, result((Part("input", "a", f"{n}"), Part("input", "b", "1")))
        )
    backend.calls.clear()
    inputs = Part("input", "a", "x"), Part("input", "b", "y")
    assert EarlierResults(store, CODE_KEY, CODE).nearest(inputs) is not None
    assert backend.calls == {"read": 512}
