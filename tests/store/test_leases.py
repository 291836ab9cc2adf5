"""A lease lets one work while others wait, and lapses if its holder dies."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Backend, Found, Memory
from memoflow.errors import BackendError, LeaseLostError
from memoflow.names import Key
from memoflow.process import this_process
from memoflow.store import Payload, Store, leases, open_store
from memoflow.store.leases import drop_stale
from tests.faults import Faulty
from tests.s3 import backend_at, serving_elsewhere
from tests.store.conftest import FILES
from tests.waiting import PATIENCE_S, until

KEY = Key.of("memo", "F", "s", "scope", "results", "inputs")
QUICK = timedelta(seconds=0.2)
LIVING = timedelta(seconds=1)  # A holder's that must not miss two, on a busy machine either.
TINY = timedelta(seconds=0.004)
NEVER = timedelta(minutes=5)
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.stress)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where processes share a store."""
    if request.param == "local":
        yield str(tmp_path / "root")
    else:
        with serving_elsewhere() as server:
            yield server.root()


@pytest.fixture(params=["memory", "local"])
def backend(request: pytest.FixtureRequest, root: str) -> Backend:
    return Memory() if request.param == "memory" else backend_at(root)


@pytest.fixture
def open_on(tmp_path: Path) -> Callable[..., Store]:
    return lambda backend, cache="here": open_store(backend, cache_dir=tmp_path / cache)


@pytest.fixture
def store(backend: Backend, open_on: Callable[..., Store]) -> Store:
    return open_on(backend)


@pytest.fixture
def run() -> Iterator[Callable[..., Any]]:
    """Start children that end with the test, whatever it stopped them in."""
    children = []

    def start(act: Callable[..., None], *args: Any) -> Any:
        child = FORK.Process(target=act, args=args)
        child.start()
        children.append(child)
        return child

    yield start
    for child in children:
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()


def names(backend: Backend) -> list[str]:
    return sorted(found.name for found in backend.list("leases"))


def left_behind(store: Store, *, heartbeat: timedelta = TINY, key: Key = KEY) -> str:
    """Leave a claim as a holder does that dies."""
    with store.lease(key, who="the dead", heartbeat=heartbeat):
        (name,) = [each for each in names(store.backend) if each.startswith(f"leases/{key}/")]
        body = store.backend.read(name)
    assert body is not None
    store.backend.write(name, body)
    return name


def in_thread(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def holder(root: str, cache: Path, told: Path, heartbeat: timedelta) -> None:
    """Hold the key until it is lost; for children."""
    store = open_store(backend_at(root), cache_dir=cache)
    with store.lease(KEY, who="child", heartbeat=heartbeat) as lease:
        told.write_text("held")
        for _ in range(3000):
            try:
                lease.check()
            except LeaseLostError as error:
                told.write_text(f"lost: {error}")
                return
            time.sleep(0.01)


class Jittery:
    """A backend whose calls take their time, so that those of several come in any order."""

    takes_round_trips = False

    def __init__(self, backend: Backend, dice: random.Random) -> None:
        self._backend = backend
        self._dice = dice

    def __getattr__(self, name: str) -> Any:
        time.sleep(self._dice.random() / 500)
        return getattr(self._backend, name)


class LosesAnswers(Memory):
    """A server whose answer to a conditional write is lost: the client's next try finds its own."""

    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        return super().write(name, data, if_absent=if_absent) and not if_absent


class IgnoresConditions(Memory):
    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        return super().write(name, data)


class BeatsWhenListed(Memory):
    """Gets a heartbeat just before the second of two listings."""

    beats = ""
    _listed = 0

    def list(self, prefix: str) -> Iterator[Found]:
        self._listed += bool(self.beats)
        if self._listed == 2:
            body = self.read(self.beats)
            assert body is not None
            super().write(self.beats, body.replace(b'"every_s": 0.004', b'"every_s": 300'))
            self.beats, self._listed = "", 0
        return super().list(prefix)


class Watched(Memory):
    """Says which requests it got."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def read(self, name: str, **options: int) -> bytes | None:
        self.asked.append("read")
        return super().read(name, **options)

    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        self.asked.append("write")
        return super().write(name, data, if_absent=if_absent)

    def list(self, prefix: str) -> Iterator[Found]:
        self.asked.append("list")
        return super().list(prefix)

    def delete(self, names: Sequence[str]) -> None:
        self.asked.append("delete")
        super().delete(names)


def test_one_holds_at_a_time(store: Store) -> None:
    inside, most, held = 0, 0, 0
    lock = threading.Lock()

    def work(n: int) -> None:
        nonlocal inside, most, held
        for _ in range(5):
            with store.lease(KEY, who=f"{n}", heartbeat=NEVER):
                with lock:
                    inside, held = inside + 1, held + 1
                    most = max(most, inside)
                time.sleep(0.001)
                with lock:
                    inside -= 1

    threads = [in_thread(lambda n=n: work(n)) for n in range(8)]  # type: ignore[misc]
    for thread in threads:
        thread.join(PATIENCE_S)
    assert (most, held) == (1, 40)
    assert names(store.backend) == []


@pytest.mark.parametrize("seed", range(5))
def test_one_takes_over_whatever_the_order(
    backend: Backend, open_on: Callable[..., Store], seed: int
) -> None:
    dice = random.Random(seed)
    plain = open_on(backend)
    lock = threading.Lock()
    for turn in range(8):
        key = KEY / f"{turn}"
        stale = left_behind(plain, key=key)
        inside, most, held = 0, 0, 0

        def work(n: int, key: Key = key) -> None:
            nonlocal inside, most, held
            mine = open_on(Jittery(backend, random.Random(f"{seed} {n}")))
            with mine.lease(key, who=f"{n}", heartbeat=timedelta(seconds=2)):
                with lock:
                    inside, held = inside + 1, held + 1
                    most = max(most, inside)
                time.sleep(0.01)
                with lock:
                    inside -= 1

        threads = [in_thread(lambda n=n: work(n)) for n in range(4)]  # type: ignore[misc]
        # About when it is given up for dead, it lets go after all.
        time.sleep(0.008 + dice.random() / 100)
        backend.delete([stale])
        for thread in threads:
            thread.join(PATIENCE_S)
        assert (most, held) == (1, 4)


def once(root: str, cache: Path, series: Key, notes: Path) -> None:
    store = open_store(backend_at(root), cache_dir=cache)
    with store.lease(
        series,
        who=f"{os.getpid()}",
        is_done=lambda: store.latest(series) is not None,
        heartbeat=timedelta(seconds=4),
    ) as lease:
        if lease.is_held:
            notes.joinpath(f"{os.getpid()}").touch()
            time.sleep(0.02)
            store.append(series, FILES, durable=False)
    assert store.latest(series) is not None
    notes.joinpath(f"{os.getpid()}.done").touch()


@pytest.mark.parametrize("turn", range(4))
def test_16_processes_on_two_machines_do_it_once(
    root: str, tmp_path: Path, run: Callable[..., Any], turn: int
) -> None:
    children = [
        run(once, root, tmp_path / ("here", "there")[n % 2], Key.of("checkpoint", "F"), tmp_path)
        for n in range(16)
    ]
    for child in children:
        child.join(PATIENCE_S)
    done = list(tmp_path.glob("*.done"))
    assert len(done) == 16
    assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 1


@pytest.mark.skipif(not this_process(), reason="the kernel tells nothing of processes")
def test_a_killed_holder_of_this_machine_is_taken_over_at_once(
    root: str, tmp_path: Path, run: Callable[..., Any], open_on: Callable[..., Store]
) -> None:
    child = run(holder, root, tmp_path / "there", tmp_path / "told", NEVER)
    until((tmp_path / "told").exists)
    os.kill(child.pid, signal.SIGKILL)  # Not joined: its number is still taken.
    with open_on(backend_at(root)).lease(KEY, who="heir", heartbeat=NEVER) as lease:
        assert lease.is_held


def test_a_killed_holder_elsewhere_is_taken_over_within_two_heartbeats(
    root: str,
    tmp_path: Path,
    run: Callable[..., Any],
    open_on: Callable[..., Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "has_ended", lambda process: False)
    child = run(holder, root, tmp_path / "there", tmp_path / "told", QUICK)
    until((tmp_path / "told").exists)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    store = open_on(backend_at(root))
    pulse = open_on(Watched(), "pulse")
    with pulse.lease(KEY, who="pulse", heartbeat=QUICK), ExitStack() as turn:
        pulse.backend.asked.clear()
        turn.enter_context(store.lease(KEY, who="heir", heartbeat=QUICK))
        assert pulse.backend.asked.count("write") <= 3  # One of them perhaps just after it died.


OTHER = Key.of("memo", "F", "s", "scope", "results", "others")


class CountsReads(Memory):
    """Counts how often each name is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def read(self, name: str, **options: int) -> bytes | None:
        self.reads.append(name)
        return super().read(name, **options)


def test_two_leases_of_one_dead_holder_are_not_waited_for_one_after_the_other(
    open_on: Callable[..., Store],
) -> None:
    backend = CountsReads()
    store = open_on(backend)
    left_behind(store, heartbeat=QUICK)
    second = left_behind(store, heartbeat=QUICK, key=OTHER)
    with store.lease(KEY, who="next", heartbeat=QUICK):
        backend.reads.clear()
        with store.lease(OTHER, who="next", heartbeat=QUICK) as lease:
            assert lease.is_held
            watched = backend.reads.count(second)
    assert watched <= 3  # to see it, to find it unchanged, and to see that others were not quicker


def test_the_living_lease_of_a_holder_who_lost_another_is_waited_for(
    open_on: Callable[..., Store],
) -> None:
    backend = Memory()
    store, other = open_on(backend), open_on(backend, "other")
    left_behind(other, heartbeat=QUICK)
    got = []
    with (
        other.lease(OTHER, who="the dead", heartbeat=LIVING) as living,
        store.lease(KEY, who="next", heartbeat=QUICK),
    ):

        def take() -> None:
            with store.lease(OTHER, who="next", heartbeat=LIVING):
                got.append(living.is_held)

        thread = in_thread(take)
        thread.join(5 * LIVING.total_seconds())
        assert got == []
        living.check()
        living.release()
        thread.join(PATIENCE_S)
    assert got == [False]


def _hold_both(root: str, cache: Path, n: int, who: str, told: Path) -> None:
    """Lease what a task leases, one after the other, and say when that is done."""
    store = open_store(backend_at(root), cache_dir=cache)
    keys = (KEY / f"{n}", OTHER / f"{n}")
    with store.lease(keys[0], who=who), store.lease(keys[1], who=who):
        told.write_text(f"{time.time()}")
        time.sleep(120)


@pytest.mark.stress
def test_of_20_killed_holders_each_is_followed_within_35_seconds(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    """Half of those that wait came before it was killed, half come when it is long dead."""
    root, dice = str(tmp_path / "root"), random.Random(20)
    holders, killed, begun = {}, {}, {}

    def start(n: int, who: str) -> Any:
        return run(_hold_both, root, tmp_path / "cache", n, f"{who} {n}", tmp_path / f"{who} {n}")

    for n in range(20):
        holders[n] = start(n, "first")
        until(lambda n=n: (tmp_path / f"first {n}").exists())
    for n in range(0, 20, 2):
        start(n, "next")
    moments = sorted((time.time() + 2 + dice.random() * 15, n) for n in range(20))
    for moment, n in moments:
        time.sleep(max(0.0, moment - time.time()))
        os.kill(holders[n].pid, signal.SIGKILL)
        begun[n] = killed[n] = time.time()
    time.sleep(1)
    for n in range(1, 20, 2):
        begun[n] = time.time()
        start(n, "next")
    for n in range(20):
        until(lambda n=n: (tmp_path / f"next {n}").exists())
    took = sorted(float((tmp_path / f"next {n}").read_text()) - begun[n] for n in range(20))
    print("seconds until the next held both:", *(f"{each:.1f}" for each in took))
    assert took[-1] <= 35


def test_a_living_holder_is_not_taken_over(store: Store, open_on: Callable[..., Store]) -> None:
    turns: list[str] = []

    def wait() -> None:
        with store.lease(KEY, who="second", heartbeat=LIVING):
            turns.append("second")

    with store.lease(KEY, who="first", heartbeat=LIVING) as lease:
        thread = in_thread(wait)
        (name,) = names(store.backend)
        until(lambda: b'"beat": 6' in (store.backend.read(name) or b""))
        lease.check()
        turns.append("first")
    thread.join(PATIENCE_S)
    assert turns == ["first", "second"]


def test_a_stopped_holder_learns_that_it_lost(
    root: str, tmp_path: Path, run: Callable[..., Any], open_on: Callable[..., Store]
) -> None:
    child = run(holder, root, tmp_path / "there", tmp_path / "told", QUICK)
    until((tmp_path / "told").exists)
    os.kill(child.pid, signal.SIGSTOP)
    store = open_on(backend_at(root))
    with store.lease(KEY, who="heir", heartbeat=QUICK) as lease:
        os.kill(child.pid, signal.SIGCONT)
        child.join(PATIENCE_S)
        lease.check()
        assert len(names(store.backend)) == 1
    assert (tmp_path / "told").read_text().startswith("lost: heir on ")


def test_a_late_heartbeat_keeps_the_lease(
    open_on: Callable[..., Store], faulty_around: Callable[[Backend], Faulty]
) -> None:
    faulty = faulty_around(Memory())
    store = open_on(faulty)
    first = left_behind(store)
    faulty.before_write = lambda name: (
        faulty.backend.write(first, b"{}") if name != first else None  # type: ignore[func-returns-value]
    )
    waited: list[str] = []
    thread = in_thread(lambda: enter(store, "second", waited))
    until(lambda: names(store.backend) == [first] and store.backend.read(first) == b"{}")
    assert waited == []
    faulty.before_write = None
    faulty.delete([first])
    thread.join(PATIENCE_S)
    assert waited == ["second"]


def test_a_heartbeat_while_the_takeover_begins_keeps_the_lease(
    open_on: Callable[..., Store],
) -> None:
    backend = BeatsWhenListed()
    store = open_on(backend)
    first = left_behind(store)
    backend.beats = first
    waited: list[str] = []
    thread = in_thread(lambda: enter(store, "second", waited))
    until(lambda: not backend.beats)
    assert names(backend) == [first]
    assert waited == []
    backend.delete([first])
    thread.join(PATIENCE_S)
    assert waited == ["second"]


def enter(store: Store, who: str, held: list[str]) -> None:
    with store.lease(KEY, who=who, heartbeat=NEVER):
        held.append(who)


def test_of_a_takeover_and_a_claim_after_release_one_succeeds(
    open_on: Callable[..., Store], faulty_around: Callable[[Backend], Faulty]
) -> None:
    faulty = faulty_around(Memory())
    store, quicker = open_on(faulty), open_on(faulty.backend, "there")
    stale = left_behind(store)
    held: list[str] = []
    with ExitStack() as claim:

        def release_and_claim(name: str) -> None:
            faulty.before_write = None
            faulty.backend.delete([stale])
            claim.enter_context(quicker.lease(KEY, who="quicker", heartbeat=NEVER))
            claimed.set()

        faulty.before_write = release_and_claim
        claimed = threading.Event()

        def slower() -> None:
            with store.lease(KEY, who="slower", heartbeat=NEVER):
                held.append("slower")

        thread = in_thread(slower)
        assert claimed.wait(PATIENCE_S)
        until(lambda: len(names(faulty.backend)) == 1)
        assert held == []
    thread.join(PATIENCE_S)
    assert held == ["slower"]


def test_a_lost_answer_is_not_a_lost_lease(open_on: Callable[..., Store]) -> None:
    store = open_on(LosesAnswers())
    with store.lease(KEY, who="first", heartbeat=NEVER) as lease:
        assert lease.is_held
        lease.check()
    assert names(store.backend) == []


def test_a_heartbeat_that_fails_is_not_a_lost_lease(
    open_on: Callable[..., Store], faulty_around: Callable[[Backend], Faulty]
) -> None:
    faulty = faulty_around(Memory())
    store = open_on(faulty)
    with store.lease(KEY, who="first", heartbeat=timedelta(seconds=0.02)) as lease:
        faulty.fail_at("write", nth=2)
        (name,) = names(faulty.backend)
        until(lambda: b'"beat": 5' in (faulty.backend.read(name) or b""))
        lease.check()


def test_a_server_that_ignores_conditions_lets_both_work(open_on: Callable[..., Store]) -> None:
    store = open_on(IgnoresConditions())
    with store.lease(KEY, who="first", heartbeat=QUICK) as first:
        (name,) = names(store.backend)
        body = store.backend.read(name)
        assert body is not None
        store.backend.write(name, body.replace(first.id.encode(), b"another"), if_absent=True)

        def is_lost() -> bool:
            try:
                first.check()
            except LeaseLostError:
                return True
            return False

        until(is_lost)
    assert names(store.backend) == [name]  # Not ours to delete.


def test_an_error_within_releases(store: Store) -> None:
    with pytest.raises(ValueError, match="mine"), store.lease(KEY, who="first"):
        raise ValueError("mine")
    assert names(store.backend) == []


def test_a_forked_child_does_not_release(root: str, open_on: Callable[..., Store]) -> None:
    store = open_on(backend_at(root))
    with store.lease(KEY, who="first", heartbeat=NEVER) as lease:
        child = os.fork()
        if child == 0:
            try:
                lease.release()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert len(names(store.backend)) == 1


def test_a_process_that_ends_with_an_error_releases(root: str, tmp_path: Path) -> None:
    code = f"""
import sys
from datetime import timedelta
from pathlib import Path
from memoflow.names import Key
from memoflow.store import open_store
from tests.s3 import backend_at
store = open_store(backend_at({root!r}), cache_dir=Path({str(tmp_path / "there")!r}))
held = store.lease(Key.of("memo"), who="child")
lease = held.__enter__()
assert lease.is_held
sys.exit("error")
"""
    child = FORK.Process(target=os.execv, args=(sys.executable, [sys.executable, "-c", code]))
    child.start()
    child.join(PATIENCE_S)
    assert child.exitcode == 1
    assert names(backend_at(root)) == []


def test_a_store_that_fails_is_an_error_and_leaves_nothing(
    open_on: Callable[..., Store], faulty_around: Callable[[Backend], Faulty]
) -> None:
    faulty = faulty_around(Memory())
    store = open_on(faulty)
    faulty.fail_at("list", nth=2)
    with pytest.raises(BackendError), store.lease(KEY, who="first"):
        pass
    assert names(faulty.backend) == []


def test_a_later_attempt_takes_over_at_once(store: Store) -> None:
    left_behind(store, heartbeat=NEVER)
    waited: list[str] = []
    with store.lease(KEY, who="the dead", on_wait=waited.append) as lease:
        assert lease.is_held
    assert waited == []
    assert names(store.backend) == []


def test_who_waits_is_told_for_whom_once(store: Store) -> None:
    left_behind(store)
    waited: list[str] = []
    with store.lease(KEY, who="heir", on_wait=waited.append):
        pass
    assert [line.partition(" on ")[0] for line in waited] == ["the dead"]


def test_what_the_holder_waits_for_does_not_wait_for_the_holder(store: Store) -> None:
    with (
        store.lease(KEY, who="outer", heartbeat=NEVER) as outer,
        store.lease(KEY, who="inner", heartbeat=NEVER, within=[outer.id]) as inner,
    ):
        assert not inner.is_held
        outer.check()


def test_work_that_is_done_needs_no_lease(store: Store) -> None:
    with store.lease(KEY, who="late", is_done=lambda: True) as lease:
        assert not lease.is_held
    assert names(store.backend) == []


def test_whether_it_is_done_is_asked_when_another_let_go(store: Store) -> None:
    done, held, waits = threading.Event(), list[bool](), list[str]()

    def wait() -> None:
        with store.lease(
            KEY, who="second", is_done=done.is_set, heartbeat=NEVER, on_wait=waits.append
        ) as lease:
            held.append(lease.is_held)

    with store.lease(KEY, who="first", heartbeat=NEVER):
        thread = in_thread(wait)
        until(lambda: waits)
        done.set()
    thread.join(PATIENCE_S)
    assert held == [False]


@pytest.mark.parametrize("lasting", [True, False])
def test_a_lifted_lease_lets_all_go_on_that_wait_or_come_while_it_lasts(
    store: Store, lasting: bool
) -> None:
    held, waits = [], []

    def wait(n: int) -> None:
        with store.lease(KEY, who=f"{n}", heartbeat=NEVER, on_wait=waits.append) as lease:
            held.append(lease.is_held)

    with store.lease(KEY, who="first", heartbeat=NEVER) as first:
        threads = [in_thread(lambda n=n: wait(n)) for n in range(3)]  # type: ignore[misc]
        until(lambda: len(waits) == 3)
        first.lift(lasting=lasting)
    for thread in threads:
        thread.join(PATIENCE_S)
    wait(3)
    wait(4)
    assert held == [False] * 3 + [not lasting] * 2


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{", b'{"id": 1}', b"\xff"])
def test_a_damaged_claim_is_taken_over(store: Store, garbage: bytes) -> None:
    store.backend.write(left_behind(store), garbage)
    with store.lease(KEY, who="heir", heartbeat=TINY) as lease:
        assert lease.is_held


def test_keys_below_each_other_are_leased_apart(store: Store) -> None:
    with (
        store.lease(KEY, who="a") as a,
        store.lease(KEY / "n=00000001", who="b") as b,
        store.lease(KEY / "00000001", who="c") as c,
    ):
        assert a.is_held
        assert b.is_held
        assert c.is_held


def test_a_lease_costs_five_requests(open_on: Callable[..., Store]) -> None:
    backend = Watched()
    store = open_on(backend)
    backend.asked.clear()
    with store.lease(KEY, who="first"):
        assert backend.asked == ["list", "write", "list"]
    assert backend.asked[3:] == ["read", "delete"]


def test_nothing_leased_is_evicted(store: Store, open_on: Callable[..., Store]) -> None:
    kept = store.append(KEY / "refs", FILES, expires=1.0)
    other = store.append(Key.of("memo", "F", "s", "scope", "results", "others"), FILES, expires=1.0)
    with store.lease(KEY, who="first"):
        assert store.evict(max_size_bytes=0).refs == (other,)
    assert store.evict().refs == (kept,)


def test_what_the_dead_left_is_dropped_in_time(store: Store) -> None:
    name = left_behind(store)
    assert drop_stale(store.backend, before=time.time() - 60) == 0
    assert drop_stale(store.backend, before=time.time() + 60) == 1
    assert name not in names(store.backend)


def test_a_store_with_leases_has_no_problems(store: Store) -> None:
    store.save(Key.of("model", "a"), Payload(files={"x": b"y"}))
    with store.lease(KEY, who="first"):
        assert store.verify() == []
