"""Whatever fails, and whenever: what was acknowledged is there, and the rest is whole or absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.kill import run as kill
from memoflow.errors import MemoflowError
from memoflow.store import Adoption, Payload, Store, open_store
from tests.conftest import Clock
from tests.faults import Died, Faulty, SystemFaults
from tests.store.conftest import FILES, KEY, SERIES, contents, local_root


def test_a_crash_between_blob_and_ref_leaves_no_ref(store: Store, faulty: Faulty) -> None:
    faulty.die_at("write", nth=2)
    with pytest.raises(Died):
        store.save(KEY, FILES)
    assert store.find(KEY) is None
    assert store.keys(KEY) == []


def test_a_crash_after_the_ref_leaves_it_whole(
    store: Store, there: Store, faulty: Faulty, tmp_path: Path
) -> None:
    faulty.die_after("write", nth=2)
    with pytest.raises(Died):
        store.save(KEY, FILES)
    ref = there.find(KEY)
    assert ref is not None
    assert contents(there.load(ref, tmp_path / "out")) == FILES.files


@pytest.mark.parametrize("verb", ["write", "read"])
@pytest.mark.parametrize("how", ["fail_at", "die_at", "die_after"])
def test_a_save_can_break_at_any_call_and_be_repeated(
    store: Store, there: Store, faulty: Faulty, tmp_path: Path, verb: str, how: str
) -> None:
    for nth in range(1, 20):
        key = SERIES / str(nth)
        getattr(faulty, how)(verb, nth=nth)
        try:
            store.save(key, FILES)
        except (MemoflowError, Died):
            found = there.find(key)
            if found is not None:
                assert contents(there.load(found, tmp_path / "out")) == FILES.files
            assert contents(store.load(store.save(key, FILES), tmp_path / "out")) == FILES.files
        else:
            break
    faulty.relent()
    assert nth > 1
    assert contents(there.load(there.find(key), tmp_path / "out")) == FILES.files  # type: ignore[arg-type]
    assert there.verify() == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    "call", ["open", "write", "fsync", "close", "link", "mkdir", "unlink", "stat", "scandir"]
)
def test_no_save_is_acknowledged_falsely_whichever_system_call_fails(
    tmp_path: Path,
    system_faults: SystemFaults,
    artifact: Callable[..., Adoption],
    call: str,
    code: int,
) -> None:
    payload = Payload(files=FILES.files, adopted={"x": artifact(b"content" * 100)})
    for nth in range(1, 60):
        root = tmp_path / f"{nth}"
        store = open_store(root / "store", cache_dir=root / "cache")
        store.index.lookup(KEY)  # Only the store's own calls are to fail, not opening the index.
        system_faults.fail_at(call, nth=nth, code=code)
        try:
            ref = store.append(SERIES, payload)
        except MemoflowError:
            ref = None
        fired = system_faults.fired
        system_faults.relent()
        fresh = open_store(root / "store", cache_dir=root / "fresh")
        if ref is not None:
            assert contents(fresh.load(ref, root / "out")) == payload.files
        for key in fresh.keys(SERIES):
            found = fresh.find(key)
            assert found is not None
            assert contents(fresh.load(found, root / "out")) == payload.files
        assert fresh.verify() == []
        if not fired:
            return
    pytest.fail(f"{call} is still called after {nth} times")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("call", ["write", "fsync", "preadv"])
def test_a_large_save_that_breaks_in_the_middle_spoils_nothing(
    tmp_path: Path, system_faults: SystemFaults, call: str, whole: bool
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for n in range(4):
        (tree / str(n)).write_bytes(os.urandom(9 << 20))
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    before = store.append(SERIES, Payload(files=FILES.files))
    for nth in (1, 2, 3, 5, 8):
        system_faults.fail_at(call, nth=nth, code=errno.ENOSPC)
        with suppress(MemoflowError):
            store.append(SERIES, Payload(tree=tree, whole=whole))
        system_faults.relent()
        assert store.verify() == []
    *later, first = store.series(SERIES)
    assert first == before
    assert contents(store.load(before, tmp_path / "out")) == FILES.files
    for ref in later:  # A save that broke is absent or whole.
        assert contents(store.load(ref, tmp_path / "later")) == contents(tree)


@pytest.mark.parametrize("call", ["write", "preadv"])
def test_a_large_save_says_why_it_broke(
    tmp_path: Path, on_disk: Store, system_faults: SystemFaults, call: str
) -> None:
    (tmp_path / "data").write_bytes(os.urandom(9 << 20))
    system_faults.fail_at(call, nth=1, code=errno.ENOSPC)
    with pytest.raises(MemoflowError, match="No space left"):
        on_disk.append(SERIES, Payload(tree=tmp_path / "data"))
    assert on_disk.keys(SERIES) == []


@pytest.mark.parametrize("call", ["open", "pwrite", "symlink", "rename", "chmod", "link"])
def test_a_load_that_breaks_leaves_nothing_behind(
    on_disk: Store, tmp_path: Path, system_faults: SystemFaults, call: str
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "data").write_bytes(os.urandom(3 << 20))
    (tree / "link").symlink_to("data")
    ref = on_disk.append(SERIES, Payload(tree=tree, whole=True))
    before = sorted(path.name for path in tmp_path.iterdir())
    system_faults.fail_at(call, nth=1, code=errno.ENOSPC)
    try:
        on_disk.load(ref, tmp_path / "out", linked=True)
    except MemoflowError:
        system_faults.relent()
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        on_disk.load(ref, tmp_path / "out", linked=True)
    system_faults.relent()
    assert contents(tmp_path / "out") == contents(tree)


def test_a_lost_acknowledgement_of_the_ref_is_no_second_execution(
    store: Store, faulty: Faulty
) -> None:
    faulty.die_after("write", nth=2)
    with pytest.raises(Died):
        store.save(KEY, FILES)
    assert store.save(KEY, Payload()).size_bytes == 5005


def test_a_truncated_ref_is_a_miss_and_can_be_saved_again(
    store: Store, there: Store, faulty: Faulty, tmp_path: Path
) -> None:
    faulty.truncate_at("write", nth=2)
    store.save(KEY, FILES)
    assert there.find(KEY) is None
    ref = there.save(KEY, FILES)
    assert contents(there.load(ref, tmp_path / "out")) == FILES.files


def test_a_sweep_leaves_alone_what_others_may_be_writing(on_disk: Store) -> None:
    on_disk.save(KEY, FILES)
    being_written = local_root(on_disk) / "blobs" / ".tmp-0"
    being_written.write_bytes(b"half")
    assert on_disk.sweep(now=True).remains == 0
    assert being_written.exists()


def test_nothing_acknowledged_is_lost_to_kill_9() -> None:
    tally = kill(8)
    assert (tally.kills, tally.lost, tally.torn) == (8, 0, 0)
    assert tally.acknowledged > 0


def test_nothing_acknowledged_is_lost_to_kill_9_while_sweeping() -> None:
    tally = kill(4, seed=100, tidy=True)
    assert (tally.lost, tally.torn) == (0, 0)


@pytest.mark.stress
def test_nothing_acknowledged_is_lost_to_200_kills() -> None:
    tally = kill(200, seed=1000)
    assert (tally.lost, tally.torn) == (0, 0)


@pytest.mark.stress
def test_nothing_acknowledged_is_lost_to_200_kills_while_sweeping() -> None:
    tally = kill(200, seed=2000, tidy=True)
    assert (tally.lost, tally.torn) == (0, 0)


def test_a_clock_that_went_back_loses_nothing(store: Store, clock: Clock, tmp_path: Path) -> None:
    ref = store.save(KEY, FILES)
    clock.pass_(-3 * 86400)
    store.sweep()
    store.sweep()
    assert store.evict().refs == ()
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files
