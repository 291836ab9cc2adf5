"""Evicting drops refs by rule; sweeping deletes what no ref reaches, and nothing else."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memoflow.errors import MemoflowError
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from memoflow.store.deletion_log import DELETING
from memoflow.store.marker_file import sealed
from memoflow.store.saves.upload_heartbeat import UploadHeartbeat
from tests.conftest import Clock
from tests.faults import Died, Faulty
from tests.store.conftest import FILES, KEY, SERIES, blobs, contents
from tests.waiting import until

HOUR = timedelta(hours=1)
NEVER = timedelta(0)


def some(size_bytes: int) -> Payload:
    return Payload(files={"data": os.urandom(size_bytes)})


def test_expired_refs_are_evicted_everywhere(store: Store, there: Store, clock: Clock) -> None:
    store.save(KEY, FILES, expires=clock.now + 10)
    kept = store.append(SERIES, FILES)
    clock.pass_(10)
    assert [ref.key for ref in there.evict().refs] == [KEY]
    assert there.keys(Key.of("model")) == []
    assert store.find(kept.key) == kept


def test_nothing_else_is_evicted_without_being_asked(store: Store, clock: Clock) -> None:
    store.save(KEY, FILES)
    clock.pass_(10 * 365 * 86400)
    assert store.evict().refs == ()


def test_a_ref_made_anew_elsewhere_is_not_evicted_for_its_old_end(
    store: Store, there: Store, clock: Clock
) -> None:
    store.save(KEY, FILES, expires=clock.now + 10)
    clock.pass_(10)
    there.save(KEY, FILES)
    assert store.evict().refs == ()


def test_the_long_unused_are_evicted(store: Store, clock: Clock) -> None:
    old, used = store.append(SERIES, FILES), store.append(SERIES, FILES)
    clock.pass_(7200)
    store.touch(used)
    assert [ref.key for ref in store.evict(older_than=HOUR).refs] == [old.key]


@pytest.mark.parametrize(
    "rules", [{}, {"older_than": NEVER}, {"max_size_bytes": 0}], ids=["ttl", "unused", "size"]
)
def test_what_is_to_be_kept_stays_whatever_the_rules_say(
    store: Store, clock: Clock, rules: dict[str, Any]
) -> None:
    kept, other = (store.append(SERIES, FILES, expires=clock.now + 10) for _ in range(2))
    clock.pass_(20)
    assert [ref.key for ref in store.evict(keep=[kept.key], **rules).refs] == [other.key]


def test_what_is_to_be_kept_is_asked_for_after_all_is_listed(store: Store, faulty: Faulty) -> None:
    kept, other = store.append(SERIES, FILES), store.append(SERIES, FILES)

    def keep() -> list[Key]:
        assert faulty.calls["list"] > before
        return [kept.key]

    before = faulty.calls["list"]
    assert [ref.key for ref in store.evict(max_size_bytes=0, keep=keep).refs] == [other.key]


def test_what_is_created_after_eviction_began_stays(store: Store, clock: Clock) -> None:
    old = store.append(SERIES, FILES)
    began = clock.now
    clock.pass_(1)
    store.append(SERIES, FILES)
    assert [ref.key for ref in store.evict(now=began, max_size_bytes=0).refs] == [old.key]


def test_what_is_kept_counts(store: Store, clock: Clock) -> None:
    kept = store.append(SERIES, some(10_000))
    for _ in range(2):
        clock.pass_(10)
        last = store.append(SERIES, some(10_000))
    evicted = store.evict(max_size_bytes=25_000, keep=[kept.key])
    assert [ref.key for ref in evicted.refs] == [SERIES / "00000002"]
    assert store.find(last.key) == last


def test_a_load_is_a_use(store: Store, clock: Clock, tmp_path: Path) -> None:
    ref = store.append(SERIES, FILES)
    clock.pass_(7200)
    store.load(ref, tmp_path / "out")
    assert store.evict(older_than=HOUR).refs == ()


def test_over_budget_the_least_recently_used_go_first(store: Store, clock: Clock) -> None:
    refs = []
    for _ in range(4):
        refs.append(store.append(SERIES, some(10_000)))
        clock.pass_(10)
    store.touch(refs[0])
    evicted = store.evict(max_size_bytes=25_000)
    assert [ref.key for ref in evicted.refs] == [refs[1].key, refs[2].key]
    assert evicted.size_bytes == 20_000


def test_a_blob_that_many_reach_counts_once(store: Store) -> None:
    for n in range(5):
        store.save(SERIES / str(n), FILES)
    assert store.evict(max_size_bytes=10_000).refs == ()


def test_evicting_one_of_two_users_of_a_blob_does_not_free_it(store: Store, clock: Clock) -> None:
    for n in range(2):
        store.save(SERIES / str(n), FILES)
        clock.pass_(10)
    assert len(store.evict(max_size_bytes=4_000).refs) == 2


def test_only_below_the_prefix_is_evicted(store: Store, clock: Clock) -> None:
    store.save(KEY, FILES)
    store.append(SERIES, FILES)
    assert [ref.key for ref in store.evict(max_size_bytes=0, prefix=SERIES).refs] == [
        SERIES / "00000001"
    ]
    assert store.find(KEY) is not None


def test_a_dry_run_evicts_nothing(store: Store) -> None:
    store.save(KEY, FILES)
    assert len(store.evict(max_size_bytes=0, dry_run=True).refs) == 1
    assert store.find(KEY) is not None


def test_what_is_reached_is_never_swept(store: Store, clock: Clock, tmp_path: Path) -> None:
    ref = store.save(KEY, FILES)
    big = store.append(SERIES, Payload(files={str(n): b"x" * 1000 for n in range(100)}))
    clock.pass_(86400)
    for _ in range(3):
        assert store.sweep(now=True).blobs == 0
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files
    store.manifest(big)


def test_what_is_lost_is_condemned_first_and_deleted_later(store: Store, clock: Clock) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    clock.pass_(3601)
    assert (store.sweep().blobs, store.sweep().pending) == (0, 1)
    clock.pass_(3601)
    swept = store.sweep()
    assert (swept.blobs, swept.size_bytes, swept.pending) == (1, 5000, 0)
    assert blobs(store.backend) == []


def test_what_is_new_is_not_even_condemned(store: Store, clock: Clock) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    clock.pass_(3599)
    assert store.sweep().pending == 0


def test_a_condemned_blob_that_is_reached_again_is_kept(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    clock.pass_(3601)
    store.sweep()
    ref = store.save(KEY, FILES)
    clock.pass_(3601)
    store.sweep()
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files


def test_now_is_one_pass(store: Store) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    assert store.sweep(now=True).blobs == 1


def test_a_dry_sweep_deletes_and_writes_nothing(store: Store, faulty: Faulty) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    writes = faulty.calls["write"]
    assert store.sweep(now=True, dry_run=True).blobs == 1
    assert faulty.calls["write"] == writes
    assert len(blobs(store.backend)) == 1


def test_a_save_after_a_sweep_elsewhere_writes_its_bytes_again(
    store: Store, there: Store, tmp_path: Path
) -> None:
    store.save(KEY, FILES)
    there.forget(KEY)
    there.sweep(now=True)
    ref = store.save(KEY, FILES)
    assert contents(there.load(ref, tmp_path / "out")) == FILES.files


class Interrupted(Faulty):
    """A backend that lets something happen just before a name is written."""

    def __init__(self, backend, prefix: str, act) -> None:
        super().__init__(backend)
        self._prefix, self._act = prefix, act

    def write(self, name, data, **options):
        if name.startswith(self._prefix) and self._act is not None:
            act, self._act = self._act, None
            act()
        return super().write(name, data, **options)


def test_a_sweep_between_blobs_and_ref_of_a_save_loses_nothing(
    store: Store, there: Store, tmp_path: Path, clock: Clock
) -> None:
    backend = Interrupted(store.backend, "refs/", lambda: there.sweep(now=True))
    saver = open_store(backend, cache_dir=tmp_path / "saver", clock=clock)
    ref = saver.save(KEY, FILES)
    assert contents(there.load(ref, tmp_path / "out")) == FILES.files


def test_a_ref_written_while_a_sweep_is_about_to_delete_is_seen(
    store: Store, there: Store, tmp_path: Path, clock: Clock
) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    saved = []
    # What the sweep dooms is not said yet, so that the save does not wait for it.
    backend = Interrupted(store.backend, DELETING, lambda: saved.append(there.save(KEY, FILES)))
    sweeper = open_store(backend, cache_dir=tmp_path / "sweeper", clock=clock)
    assert sweeper.sweep(now=True).blobs == 0
    assert contents(there.load(saved[0], tmp_path / "out")) == FILES.files


def test_what_a_stopped_sweep_may_still_delete_is_saved_under_another_name(
    store: Store, faulty: Faulty, tmp_path: Path, clock: Clock
) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    doomed = blobs(store.backend)
    faulty.die_at("delete")
    with pytest.raises(Died):
        store.sweep(now=True)
    waits: list[float] = []
    saver = Store(store.id, faulty, store.index, clock=clock, sleep=waits.append)
    ref = saver.save(KEY, FILES)
    faulty.delete(doomed)
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files
    assert sum(waits) < 10


def test_what_a_sweep_left_that_stopped_a_week_ago_is_removed(
    store: Store, faulty: Faulty, clock: Clock
) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    faulty.die_at("delete")
    with pytest.raises(Died):
        store.sweep(now=True)
    assert list(store.backend.list(DELETING)) != []
    clock.pass_(8 * 86400)
    store.sweep(now=True)
    assert list(store.backend.list(DELETING)) == []


def test_a_sweep_that_breaks_anywhere_loses_nothing(
    store: Store, there: Store, faulty: Faulty, tmp_path: Path
) -> None:
    kept = store.save(KEY, FILES)
    for verb in ("write", "delete", "list", "read"):
        for nth in range(1, 6):
            store.save(SERIES / f"{verb}{nth}", some(5000))
            store.forget(SERIES / f"{verb}{nth}")
            faulty.die_at(verb, nth=nth)
            with suppress(Died):
                store.sweep(now=True)
            faulty.relent()
    assert contents(there.load(kept, tmp_path / "out")) == FILES.files
    there.sweep(now=True)
    assert len(blobs(there.backend)) == 1


def test_writers_readers_and_sweeps_side_by_side_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "store"
    stop = threading.Event()
    errors: list[BaseException] = []
    saved = dict.fromkeys(range(3), 0)
    swept: list[bool] = []

    def work(n: int) -> None:
        store = open_store(root, cache_dir=tmp_path / str(n))
        series = SERIES / str(n)
        try:
            while not stop.is_set():
                count = saved[n] = saved[n] + 1
                payload = Payload(files={"data": b"%d" % (count % 5) * 3000})
                ref = store.append(series, payload, durable=False)
                out = store.load(ref, tmp_path / f"out-{n}")
                assert contents(out) == payload.files
                if count % 3 == 0:
                    store.forget(ref.key)
        except BaseException as error:
            errors.append(error)

    def sweep() -> None:
        store = open_store(root, cache_dir=tmp_path / "sweeper")
        try:
            while not stop.is_set():
                store.sweep(now=True)
                swept.append(True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in saved]
    threads.append(threading.Thread(target=sweep))
    for thread in threads:
        thread.start()
    until(lambda: errors or (min(saved.values()) > 20 and len(swept) > 10))
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    store = open_store(root, cache_dir=tmp_path / "last")
    assert store.verify() == []
    for key in store.keys(SERIES):
        store.forget(key)
    store.sweep(now=True)
    assert blobs(store.backend) == []


def test_forgetting_breaks_off_cleanly(store: Store, there: Store, faulty: Faulty) -> None:
    store.save(KEY, FILES)
    faulty.fail_at("delete")
    with pytest.raises(MemoflowError):
        store.forget(KEY)
    assert there.find(KEY) is not None


def long_payload(folder: Path) -> Payload:
    """Files that are each written by themselves."""
    for n in range(10):
        (folder / str(n)).write_bytes(os.urandom(1 << 20))
    return Payload(files={str(n): folder / str(n) for n in range(10)}, whole=True)


def marks(store: Store) -> list[str]:
    return [found.name for found in store.backend.list("gc/saving")]


def test_sweeps_leave_alone_what_a_long_save_has_written(
    store: Store, there: Store, faulty: Faulty, clock: Clock, tmp_path: Path
) -> None:
    def meanwhile(name: str) -> None:
        if name.startswith("blobs/"):
            clock.pass_(240)
            there.sweep(keep_newer=timedelta(minutes=5))

    faulty.before_write = meanwhile
    payload = long_payload(tmp_path)
    ref = store.append(SERIES, payload)
    assert faulty.calls["write"] < 2 * len(payload.files) + 20
    assert marks(store) == []
    assert len(contents(there.load(ref, tmp_path / "out"))) == 10


def test_a_save_that_was_swept_is_marked_when_it_tries_again(
    store: Store, there: Store, faulty: Faulty, clock: Clock, tmp_path: Path
) -> None:
    def meanwhile(name: str) -> None:
        if name.startswith("blobs/"):
            clock.pass_(2)
            there.sweep(keep_newer=timedelta(seconds=1))

    faulty.before_write = meanwhile
    ref = store.append(SERIES, long_payload(tmp_path))
    assert len(contents(there.load(ref, tmp_path / "out"))) == 10


def test_a_save_that_breaks_leaves_no_mark(
    store: Store, faulty: Faulty, clock: Clock, tmp_path: Path
) -> None:
    faulty.before_write = lambda name: clock.pass_(100)
    faulty.fail_at("write", nth=9)
    with pytest.raises(MemoflowError):
        store.append(SERIES, long_payload(tmp_path))
    assert marks(store) == []


def test_the_mark_of_a_dead_save_protects_for_ten_minutes_and_is_removed(
    store: Store, clock: Clock
) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    clock.pass_(3600)
    store.backend.write("gc/saving/dead", sealed(b"60"))
    store.save(KEY, some(5000))
    store.forget(KEY)
    assert store.sweep(keep_newer=NEVER).pending == 1
    assert marks(store) == ["gc/saving/dead"]
    clock.pass_(601)
    swept = store.sweep(keep_newer=NEVER)
    assert (swept.blobs, swept.pending) == (1, 1)
    assert marks(store) == []


@pytest.mark.parametrize("leftovers", [False, True])
def test_now_spares_what_a_long_save_may_need_and_nothing_older(
    store: Store, clock: Clock, leftovers: bool
) -> None:
    store.save(SERIES / "older", some(5000))
    store.forget(SERIES / "older")
    clock.pass_(3600)
    with UploadHeartbeat(store.backend, clock=clock) as save:
        clock.pass_(60)
        save.beat()
        store.save(KEY, FILES)
        store.forget(KEY)
        assert store.sweep(now=True, leftovers=leftovers).blobs == 1
    assert store.sweep(now=True).blobs == 1


def test_a_save_that_was_silent_for_three_minutes_keeps_no_leftovers(
    store: Store, clock: Clock
) -> None:
    store.backend.write("gc/saving/dead", sealed(b"60"))
    store.save(KEY, FILES)
    store.forget(KEY)
    clock.pass_(181)
    assert store.sweep(now=True).blobs == 0
    assert store.sweep(now=True, leftovers=True).blobs == 1


def test_leftovers_do_not_wait_in_quarantine(store: Store) -> None:
    store.backend.write("quarantine/blobs/ab/damaged", b"damaged")
    store.sweep(now=True)
    assert len(store.quarantined()) == 1
    store.sweep(now=True, leftovers=True)
    assert store.quarantined() == []


def test_what_dead_holders_of_leases_left_is_swept_after_a_day(store: Store, clock: Clock) -> None:
    store.backend.write("leases/memo/a/n=00000001", b"{}")
    clock.pass_(86400 - 60)
    store.sweep()
    assert len(list(store.backend.list("leases"))) == 1
    clock.pass_(120)
    store.sweep()
    assert list(store.backend.list("leases")) == []


@pytest.mark.parametrize("data", [b"", b"?"])
def test_a_damaged_mark_protects_everything(store: Store, clock: Clock, data: bytes) -> None:
    store.save(KEY, FILES)
    store.forget(KEY)
    clock.pass_(86400)
    store.backend.write("gc/saving/damaged", data)
    assert store.sweep(keep_newer=NEVER).pending == 0


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_three_days_off_evicts_nothing_live(
    store: Store, faulty: Faulty, clock: Clock, tmp_path: Path, days: int
) -> None:
    live = store.append(SERIES, FILES, expires=clock.now + 3600)
    off = open_store(
        faulty.backend, cache_dir=tmp_path / "off", clock=lambda: clock.now + days * 86400
    )
    theirs = off.append(SERIES, FILES, expires=clock.now + days * 86400 + 3600)
    rules: dict[str, Any] = {"older_than": timedelta(days=1)}
    for each in (store, off):
        assert each.evict(**rules).refs == ()
    clock.pass_(3600)
    assert {ref.key for ref in off.evict(**rules).refs} == {live.key, theirs.key}


def test_a_store_that_takes_no_more_writes_is_evicted_from(
    store: Store, faulty: Faulty, clock: Clock
) -> None:
    store.save(KEY, FILES, expires=clock.now + 10)
    clock.pass_(10)
    faulty.fail_at("write")
    assert [ref.key for ref in store.evict().refs] == [KEY]


def test_what_is_made_anew_while_eviction_decides_stays(
    store: Store, there: Store, clock: Clock
) -> None:
    store.save(KEY, FILES)
    clock.pass_(10)

    def keep() -> list[Key]:
        there.forget(KEY)
        there.save(KEY, some(5000))
        return []

    assert store.evict(max_size_bytes=0, keep=keep).refs == ()
    assert there.find(KEY) is not None


def test_two_that_find_the_same_ref_lost_remove_nothing_that_came_after(
    store: Store, there: Store, clock: Clock, tmp_path: Path
) -> None:
    lost = store.save(KEY, FILES)
    there.backend.delete(blobs(there.backend))
    clock.pass_(1)
    ref = there.save(KEY, FILES)
    assert ref != lost
    with pytest.raises(MemoflowError):
        store.load(lost, tmp_path / "out")
    assert contents(there.load(ref, tmp_path / "out")) == FILES.files
