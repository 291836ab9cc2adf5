"""The index remembers refs, pieces, facts and outcomes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from memoflow.index import Index, MissCost, Outcome, PieceLocation
from memoflow.names import Digest, Key, Ref
from tests.conftest import Clock

SERIES = Key.of("memo", "F", "s")
DIGEST = Digest.of(b"ref")


def ref(key: Key, *, created: float = 1.5, expires: float | None = None) -> Ref:
    return Ref(key, Digest.of(str(key).encode()), 7, created, expires)


@pytest.fixture
def index(tmp_path: Path, clock: Clock):
    index = Index(tmp_path / "cache" / "index.sqlite", clock=clock)
    yield index
    index.close()


def test_a_recorded_ref_is_looked_up_equal(index: Index) -> None:
    known = ref(SERIES / "a", created=1_700_000_000.123, expires=1_800_000_000.456)
    index.record([known])
    assert index.lookup(known.key) == known


def test_an_unknown_key_is_none(index: Index) -> None:
    assert index.lookup(SERIES) is None


def test_a_later_record_replaces(index: Index) -> None:
    index.record([ref(SERIES, created=1.0)])
    index.record([ref(SERIES, created=2.0)])
    assert index.lookup(SERIES) == ref(SERIES, created=2.0)


def test_a_dropped_ref_is_forgotten(index: Index) -> None:
    index.record([ref(SERIES)])
    index.drop([SERIES])
    assert index.lookup(SERIES) is None


def test_more_rows_than_a_transaction_takes_are_recorded(index: Index) -> None:
    index.record(ref(SERIES / str(n)) for n in range(1001))
    assert len(index.keys(SERIES)) == 1001


def test_keys_are_those_below_the_prefix_in_order(index: Index) -> None:
    keys = [SERIES / "b", SERIES / "a" / "x", Key.of("memo", "F", "s2"), SERIES, SERIES / "a~"]
    index.record(map(ref, keys))
    assert index.keys(SERIES) == [SERIES / "a" / "x", SERIES / "a~", SERIES / "b"]


def test_newest_is_by_creation(index: Index) -> None:
    index.record([ref(SERIES / "a", created=3.0), ref(SERIES / "b", created=2.0)])
    assert index.recent(SERIES, 1, before=9.0) == [ref(SERIES / "a", created=3.0)]
    assert index.recent(SERIES / "a", 1, before=9.0) == []


def test_last_is_the_highest_number_directly_below(index: Index) -> None:
    for parts in (("00000002",), ("00000010",), ("9",), ("00000099", "00000100"), ("x",)):
        index.record([ref(Key((*SERIES.parts, *parts)))])
    assert index.last(SERIES) == ref(SERIES / "00000010")


def test_entries_tell_when_a_ref_was_used(index: Index, clock: Clock) -> None:
    index.record([ref(SERIES)])
    clock.pass_(100)
    index.touch(SERIES)
    assert index.entries()[str(SERIES)].used == int(clock.now)


def test_a_touch_brings_no_forgotten_ref_back(index: Index) -> None:
    index.record([ref(SERIES)])
    index.drop([SERIES])
    index.touch(SERIES)
    index.flush()
    assert index.lookup(SERIES) is None


def test_touches_are_kept_by_close(index: Index, clock: Clock) -> None:
    index.record([ref(SERIES / str(n)) for n in range(3)])
    clock.pass_(100)
    for n in range(3):
        index.touch(SERIES / str(n))
    index.close()
    assert {entry.used for entry in index.entries().values()} == {int(clock.now)}


def test_pieces_are_found_by_their_hash(index: Index) -> None:
    places = {f"{n:032x}": PieceLocation(Digest.of(b"blob"), n, 5) for n in range(700)}
    index.record_pieces(places)
    assert index.find_pieces([*places, "f" * 32]) == places


def test_a_dropped_blob_takes_its_pieces_along(index: Index) -> None:
    index.record_pieces({"1" * 32: PieceLocation(Digest.of(b"A"), 0, 5)})
    index.record_pieces({"2" * 32: PieceLocation(Digest.of(b"B"), 0, 5)})
    index.drop_blobs([Digest.of(b"A")])
    assert index.find_pieces(["1" * 32, "2" * 32]) == {
        "2" * 32: PieceLocation(Digest.of(b"B"), 0, 5)
    }


def test_facts_are_recalled(index: Index) -> None:
    index.set({f"sha1[{n}]": str(n) for n in range(700)})
    assert index.get(["sha1[5]", "sha1[699]", "unknown"]) == {"sha1[5]": "5", "sha1[699]": "699"}


def test_outcomes_are_those_of_a_run(index: Index) -> None:
    outcome = Outcome("F", "1", "s", "2", True, 3.5, 10.0)
    index.record_outcomes([outcome, ("F", "2", "s", "1", False, 0.0, 11.0)])
    assert index.outcomes("F", "1") == [outcome]


def test_misses_are_summed_by_step_and_reason_the_costliest_first(index: Index) -> None:
    index.record_misses(
        [
            ("F", "1", "s", "1", "code_changed", 1, 2.0, 10.0),
            ("F", "1", "s", "2", "new_input", 1, 5.0, 11.0),
            ("F", "2", "s", "1", "code_changed", 1, 4.0, 12.0),
        ]
    )
    of_code = MissCost("F", "s", "code_changed", 2, 6.0)
    assert index.miss_costs() == [of_code, MissCost("F", "s", "new_input", 1, 5.0)]
    assert index.miss_costs(since=12.0) == [MissCost("F", "s", "code_changed", 1, 4.0)]


def test_a_task_that_missed_twice_counts_by_its_last_attempt(index: Index) -> None:
    for run_s in (2.0, 3.0):
        index.record_misses([("F", "1", "s", "1", "first_run", 1, run_s, 10.0)])
    assert index.miss_costs() == [MissCost("F", "s", "first_run", 1, 3.0)]


def test_misses_of_which_an_older_memoflow_kept_no_reason_are_counted(index: Index) -> None:
    index.record_outcomes(
        [("F", "1", "s", "1", False, 0.0, 1.0), ("F", "1", "s", "2", True, 9.0, 1.0)]
    )
    index.record_outcomes([("m", "p", "f", "misses of day 1", -7, 0.0, 1.0)])
    found = [MissCost("F", "s", "", 1, 0.0), MissCost("m", "f", "", 7, 0.0)]
    assert index.miss_costs() == found
    index.record_misses([("F", "1", "s", "1", "first_run", 1, 2.0, 1.0)])
    assert index.miss_costs() == [MissCost("F", "s", "first_run", 1, 2.0), found[1]]


def test_counts_since_a_moment_leave_out_what_ended_before(index: Index) -> None:
    for day in (1, 2):
        index.record_outcomes([("F", str(day), "s", "1", True, 2.0, 86400.0 * day)])
    assert [each.hits for each in index.tally(since=86401.0)] == [1]
    assert [each.date for each in index.days(since=86401.0)] == ["1970-01-03"]


def test_a_text_that_sqlite_cannot_hold_is_not_remembered(index: Index) -> None:
    index.set({"\udc80": "x"})
    assert index.get(["\udc80"]) == {}
    index.set({"a": "x"})
    assert index.get(["a"]) == {"a": "x"}


def test_of_many_who_renew_a_text_one_is_told_that_it_is_new(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: Index(path).set_if_changed("hint", "said"), range(8)))
    assert sorted(told) == [False] * 7 + [True]
    assert Index(path).set_if_changed("hint", "otherwise")


def test_threads_share_an_index(index: Index) -> None:
    def work(n: int) -> None:
        for m in range(50):
            index.record([ref(SERIES / f"{n}-{m}")])
            assert index.lookup(SERIES / f"{n}-{m}") is not None

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.keys(SERIES)) == 200


class Flushing(Key):
    """A key during whose making into text the index is flushed, as another thread may do."""

    index: Index

    def __str__(self) -> str:
        self.index.flush()
        return super().__str__()


def test_what_is_noted_during_a_flush_is_kept(index: Index) -> None:
    key, Flushing.index = Flushing.of("memo", "F", "s", "a"), index
    index.record([ref(SERIES / "a")], is_used=False)
    index.touch(key)
    index.record_small_value(bytes(16), ref(key), b"value")
    index.flush()
    assert index.entries()[f"{SERIES}/a"].was_used
    assert index.small_value(bytes(16)) == (SERIES / "a", b"value")


def test_a_forked_child_and_its_parent_both_go_on(index: Index) -> None:
    index.record([ref(SERIES / "before")])
    child = os.fork()
    if child == 0:
        known = index.lookup(SERIES / "before") is not None
        index.record([ref(SERIES / "child")])
        os._exit(0 if known and index.lookup(SERIES / "child") else 1)
    assert os.waitpid(child, 0)[1] == 0
    index.record([ref(SERIES / "parent")])
    assert len(index.keys(SERIES)) == 3


def _open_and_write(path: Path, n: int, ready: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    index = Index(path)
    index.record([ref(SERIES / str(n))])
    assert index.lookup(SERIES / str(n)) is not None
    assert index.warnings == []


def test_sixteen_processes_open_one_new_index_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(16)
    path = tmp_path / "index.sqlite"
    children = [context.Process(target=_open_and_write, args=(path, n, ready)) for n in range(16)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 16
    assert len(Index(path).keys(SERIES)) == 16


def test_a_look_inside_counts_rows(index: Index) -> None:
    index.record([ref(SERIES)])
    counts = {"entries": 1, "pieces": 0, "facts": 0, "outcomes": 0}
    counts |= {"small_values": 0, "misses": 0, "details": 0}
    assert index.inspect() == counts
