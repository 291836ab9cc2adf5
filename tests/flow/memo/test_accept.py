"""Acceptance in process: its notes, and what the binding of results keeps and refuses."""

from __future__ import annotations

import pytest

from memoflow.flow.host.single_step import TaskStart
from memoflow.flow.memo.accept import Plan
from memoflow.kinds import acceptance, memo
from memoflow.kinds.acceptance import Acceptance
from memoflow.names import Key


@pytest.fixture
def old(host, record):
    """The code key of two recorded results, and their refs."""
    memoized = host.memoized()
    for x in (1, 2):
        record(memoized, host.left(task=str(x), x=x), "x")
    return memoized.code_key


def bound_to(store, old: Key, new: Key, why: str = "as ever") -> Acceptance:
    note = Acceptance.of(old, new, by="ann", why=why, verified=1, when=1000.0)
    acceptance.prepare(store, old, new, ())
    for ref in acceptance.newest(store, old):
        acceptance.bind(store, ref, new, note)
    return note


def test_bound_results_are_the_originals_with_a_note(host, old):
    store, new = host.session.context.store, Key((*old.parts[:3], "0" * 32))
    note = bound_to(store, old, new)
    found = list(acceptance.bound(store, new))
    assert [each for _, each in found] == [note, note]
    for ref, _ in found:
        source = store.find(Key((*old.parts, *ref.key.parts[4:-1], ref.key.parts[-1])))
        assert memo.read(store, ref).artifacts == memo.read(store, source).artifacts
        assert (ref.created, ref.expires) == (source.created, source.expires)
    assert len(store.keys(new / memo.READ_SETS)) == len(store.keys(old / memo.READ_SETS))


def test_binding_twice_binds_once(host, old):
    store, new = host.session.context.store, Key((*old.parts[:3], "0" * 32))
    note = bound_to(store, old, new)
    before = store.keys(new)
    assert not any(acceptance.bind(store, ref, new, note) for ref in acceptance.newest(store, old))
    assert store.keys(new) == before


def test_bound_results_outlive_the_originals(host, old):
    store, new = host.session.context.store, Key((*old.parts[:3], "0" * 32))
    bound_to(store, old, new)
    for key in store.keys(old):
        store.forget(key)
    assert len([memo.read(store, ref) for ref, _ in acceptance.bound(store, new)]) == 2


def test_undo_leaves_what_was_written_in_place_of_a_bound_result(host, old):
    store, new = host.session.context.store, Key((*old.parts[:3], "0" * 32))
    bound_to(store, old, new)
    (first, _), (second, _) = acceptance.bound(store, new)
    store.forget(first.key)
    bound_to(store, old, new, why="anew")  # Other bytes under the same key.
    assert acceptance.undo(store, [first, second]) == 1
    assert store.lookup(first.key) is not None
    assert store.lookup(second.key) is None


@pytest.mark.parametrize("meta", [{}, {"accepted": 1}, {"accepted": {"by": 3}}])
def test_a_note_that_cannot_be_read_is_none(meta):
    assert Acceptance.parse(meta) is None


def test_the_id_is_that_of_the_two_codes():
    one, two = Key.of("memo", "F", "s", "1"), Key.of("memo", "F", "s", "2")
    assert acceptance.id_of(one, two) == acceptance.id_of(one, two)
    assert acceptance.id_of(one, two) != acceptance.id_of(two, one)


def test_a_start_has_what_metaflow_begins_a_task_with():
    assert TaskStart(("1/start/1",), 3, None).arguments == {
        "input_paths": ["1/start/1"],
        "split_index": "3",
    }
    joined = TaskStart(("1/fit/2", "1/fit/3"), None, "foreach").arguments
    assert joined == {"input_paths": ["1/fit/2", "1/fit/3"], "join_type": "foreach"}


def test_a_plan_binds_what_neither_ran_nor_has_a_result():
    key = Key.of("memo", "F", "s", "1")
    plan = Plan("F/s", key, key, (), (), needed=1)
    assert plan.bindable == 0
