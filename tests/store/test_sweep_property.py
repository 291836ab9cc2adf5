"""Whoever saves, sweeps, forgets or evicts, and whoever stops or dies between any two calls."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from memoflow.backends import Backend, BlobLocation, Data, Found, Memory
from memoflow.errors import MemoflowError
from memoflow.index import Index
from memoflow.names import Digest, Key, Ref
from memoflow.objects import Manifest, blob_name
from memoflow.store import Payload, Store
from memoflow.store.deletion_log import BlobFate, DeletionLog, GcSnapshot
from memoflow.store.gc.sweeping import Sweep
from memoflow.store.refs.ref_file import decode, ref_name
from memoflow.store.refs.refs import Refs
from tests.conftest import Clock
from tests.faults import Died

MACHINES = 3
DAY = 86400.0
KEYS = [Key.of("model", "a"), Key.of("model", "b")]
SERIES = [Key.of("checkpoint", "F", "one"), Key.of("checkpoint", "F", "two")]
# Few contents, so that saves share pieces and whole blobs; the last has a manifest of its own blob.
CONTENTS: list[dict[str, bytes]] = [
    {"x": b"a" * 2000},
    {"x": b"b" * 3000},
    {"x": b"a" * 2000, "y": b"b" * 3000, "z": b"tiny"},
    {"y": b"c" * 5000, "d/x": b"b" * 3000},
    {f"{n}": b"%d" % n * 300 for n in range(120)} | {"x": b"a" * 2000},
]
WHAT = st.integers(0, len(CONTENTS) - 1)
_current = threading.local()


class Actor:
    """What a process does: it stops before each call of the backend until it may go on."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self._is_dead = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(what,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def step(self) -> None:
        """Let it make one call, and go on to the next."""
        if not self.is_done:
            self._go.release()
            self._stopped.acquire()

    def finish(self) -> None:
        for _ in range(5000):
            if self.is_done:
                return
            self.step()
        raise AssertionError("it does not come to an end")

    def die(self) -> None:
        self._is_dead = True
        self.finish()

    def wait_for_turn(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._is_dead:
            raise Died

    def _run(self, what: Callable[[], Any]) -> None:
        _current.actor = self
        try:
            self.wait_for_turn()
            self.result = what()
        except BaseException as error:
            self.error = error
        self.is_done = True
        self._stopped.release()


class Stepped(Backend):
    """A backend each call of which waits for the actor's turn; it lists two names at a time."""

    def __init__(self, memory: Memory, *, takes_round_trips: bool) -> None:
        self.memory = memory
        self.takes_round_trips = takes_round_trips

    def _turn(self) -> Memory:
        actor = getattr(_current, "actor", None)
        if actor is not None:
            actor.wait_for_turn()
        return self.memory

    def read(self, name: str, **options: int) -> bytes | None:
        return self._turn().read(name, **options)

    def open(self, name: str) -> BinaryIO | None:
        return self._turn().open(name)

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        return self._turn().write(name, data, if_absent=if_absent)

    def link_or_copy(self, name: str, source: Path | BlobLocation) -> bool:
        return self._turn().link_or_copy(name, source)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        return [self._turn().sizes([name])[0] for name in names]

    def list(self, prefix: str) -> Iterator[Found]:
        seen: set[str] = set()
        while True:
            page = [found for found in self._turn().list(prefix) if found.name not in seen][:2]
            if not page:
                return
            seen.update(found.name for found in page)
            yield from page

    def delete(self, names: Sequence[str]) -> None:
        for name in names:
            self._turn().delete([name])


@dataclass(eq=False, repr=False)
class Task:
    """What an actor does, and what is known of it."""

    actor: Actor
    key: Key | None = None  # that is forgotten, or saved
    is_save: bool = False
    files: dict[str, bytes] | None = None
    skew: float = 0.0
    undone: set[Key] = field(default_factory=set)  # what was forgotten since it began

    def __repr__(self) -> str:
        return f"Task({'save' if self.is_save else self.key or 'sweep or evict'})"


class Machines(RuleBasedStateMachine):
    """Actors of several machines, of which any may make the next call."""

    takes_round_trips = False

    def sweep_of(self, refs: Refs, now: bool) -> Sweep:
        return Sweep(refs, keep_newer=timedelta(hours=1), now=now, dry_run=False)

    @initialize(skews=st.tuples(*[st.sampled_from([0.0, 3 * DAY, -3 * DAY])] * MACHINES))
    def begin(self, skews: tuple[float, ...]) -> None:
        self.set_up(skews)

    def set_up(self, skews: tuple[float, ...]) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.memory = Memory(clock=self.clock)
        self.skews = skews
        self.stores = [self.machine(n) for n in range(MACHINES)]
        self.tasks: list[Task] = []
        self.count = 0
        self.saved: dict[Key, tuple[Ref, dict[str, bytes], float | None]] = {}

    def machine(self, n: int) -> Store:
        backend = Stepped(self.memory, takes_round_trips=self.takes_round_trips)
        skew = self.skews[n]
        index = Index(Path(self.scratch.name) / f"{n}.sqlite")
        return Store(
            "0" * 32, backend, index, clock=lambda: self.clock.now + skew, sleep=lambda _: None
        )

    def start(self, what: Callable[[], Any], **about: Any) -> Task:
        task = Task(Actor(what), **about)
        self.tasks.append(task)
        return task

    @rule(
        n=st.integers(0, MACHINES - 1), key=st.sampled_from(KEYS), files=st.sampled_from(CONTENTS)
    )
    def save(self, n: int, key: Key, files: dict[str, bytes]) -> None:
        store = self.stores[n]
        self.start(lambda: store.save(key, Payload(files=files)), key=key, is_save=True)

    @rule(
        n=st.integers(0, MACHINES - 1),
        series=st.sampled_from(SERIES),
        what=WHAT,
        lasts=st.sampled_from([None, None, 2 * 3600.0]),
        as_tree=st.booleans(),
    )
    def append(self, n: int, series: Key, what: int, lasts: float | None, as_tree: bool) -> None:
        store, skew, files = self.stores[n], self.skews[n], CONTENTS[what]
        payload = Payload(files=files)
        if as_tree:
            folder = Path(self.scratch.name) / f"tree-{what}"
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            payload = Payload(tree=folder)
        self.count += 1
        # As checkpoints are saved: a key that comes again is for whoever forgets it to mind.
        token = f"{self.count:08x}"

        def append() -> Ref:
            expires = None if lasts is None else self.clock.now + skew + lasts
            return store.append(series, payload, token=token, expires=expires)

        self.start(
            append,
            is_save=True,
            skew=skew,
            files=files,
        )

    @rule(n=st.integers(0, MACHINES - 1), now=st.booleans())
    def sweep(self, n: int, now: bool) -> None:
        refs = self.stores[n]._refs
        self.start(lambda: self.sweep_of(refs, now).run())

    @precondition(lambda self: self.saved)
    @rule(n=st.integers(0, MACHINES - 1), data=st.data())
    def forget(self, n: int, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.saved, key=str)))
        store = self.stores[n]
        del self.saved[key]
        self.start(lambda: store.forget(key), key=key)
        self.note_undone()

    @rule(n=st.integers(0, MACHINES - 1))
    def evict(self, n: int) -> None:
        store = self.stores[n]
        self.start(store.evict)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), count=st.integers(1, 12))
    def go_on(self, data: st.DataObject, count: int) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        for _ in range(count):
            task.actor.step()
            self.note_undone()
        self.settle(task)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        task.actor.finish()
        self.settle(task)

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        task = data.draw(st.sampled_from(self.tasks))
        task.actor.die()
        self.settle(task)

    @rule(hours=st.sampled_from([1, 2, 30, 72]))
    def wait(self, hours: int) -> None:
        self.clock.pass_(hours * 3600.0 + 1)
        self.check()

    @rule(n=st.integers(0, MACHINES - 1))
    def lose_the_index(self, n: int) -> None:
        self.stores[n].close()
        for file in Path(self.scratch.name).glob(f"{n}.sqlite*"):
            file.unlink()
        self.stores[n] = self.machine(n)

    def note_undone(self) -> None:
        forgetting = {task.key for task in self.tasks if not task.is_save and task.key is not None}
        for task in self.tasks:
            task.undone |= forgetting

    def settle(self, task: Task) -> None:
        if task.actor.is_done:
            self.note_undone()
            self.tasks.remove(task)
            error = task.actor.error
            # A save that fails says so; what else goes wrong is a mistake.
            if error is not None and not isinstance(error, (Died, MemoflowError)):
                raise error
            if task.is_save and error is None and task.actor.result.key not in task.undone:
                self.commit(task, task.actor.result)
        self.check()

    def commit(self, task: Task, ref: Ref) -> None:
        until = None if ref.expires is None else ref.expires - task.skew
        if until is not None and until <= self.clock.now:
            return  # It took so long that it may be evicted again.
        content = self.content(ref)
        assert task.files is None or content == task.files
        if ref.key in self.saved:
            assert self.saved[ref.key][0] == ref
        self.saved[ref.key] = (ref, content, until)

    def content(self, ref: Ref) -> dict[str, bytes]:
        """Return what a ref restores to, straight from the bytes that are there."""
        data = self.memory.read(ref_name(ref.key))
        assert data is not None, f"{ref.key} is gone"
        assert Digest.of(data) == ref.digest, f"{ref.key} is another"
        manifest = self.manifest(ref.key, data)
        content = {}
        for file in manifest.files:
            content[file.path] = file.inline or b""
            for piece in file.pieces:
                blob = self.memory.read(blob_name(piece.blob))
                assert blob is not None, f"a blob of {ref.key} is gone"
                content[file.path] += blob[piece.offset : piece.offset + piece.length]
        return content

    def manifest(self, key: Key, data: bytes) -> Manifest:
        stored = decode(key, data)
        if stored.manifest_blob is None:
            return Manifest.from_json(stored.manifest)
        blob = self.memory.read(blob_name(stored.manifest_blob))
        assert blob is not None, f"the manifest of {key} is gone"
        return Manifest.from_bytes(blob)

    def check(self) -> None:
        """Every ref that was returned loads, at any time."""
        for key, (ref, files, until) in list(self.saved.items()):
            if until is not None and until <= self.clock.now:
                del self.saved[key]
            else:
                assert self.content(ref) == files

    def teardown(self) -> None:
        if not hasattr(self, "stores"):
            return
        try:
            for task in list(self.tasks):
                task.actor.finish()
                self.settle(task)
            self.nothing_is_left()
        finally:
            for task in self.tasks:
                with suppress(AssertionError):
                    task.actor.die()
            for store in self.stores:
                store.close()
            self.scratch.cleanup()

    def nothing_is_left(self) -> None:
        """After two sweeps there is no blob that no ref reaches."""
        refs = self.stores[0]._refs
        for _ in range(3):
            self.clock.pass_(8 * DAY)
            self.check()
            sweep = Actor(self.sweep_of(refs, False).run)
            sweep.finish()
            assert sweep.error is None
        reached = set()
        for found in self.memory.list("refs"):
            key = Key.parse(found.name.removeprefix("refs/"))
            data = self.memory.read(found.name)
            assert data is not None
            with suppress(AssertionError):  # Of a writer that died before it noticed.
                reached |= {blob_name(blob) for blob in self.manifest(key, data).blobs}
                blob = decode(key, data).manifest_blob
                reached |= {blob_name(blob)} if blob is not None else set()
        assert {found.name for found in self.memory.list("blobs")} <= reached


class MachinesElsewhere(Machines):
    """The same where asking is slow, so that less is asked."""

    takes_round_trips = True


class RefsFirst(Sweep):
    """A sweep that looks at the refs before it says what it is going to delete."""

    def look(self, beat: Callable[[], object] = lambda: None) -> set[str]:
        if not hasattr(self, "_looked"):
            self._looked = super().look(beat)
        return self._looked


class OneBlob(Machines):
    """One blob that is nobody's any more, and that a save may take up again while it is swept."""

    append = forget = evict = wait = lose_the_index = die = None  # type: ignore[assignment]

    @initialize(count=st.integers(0, 20))
    def begin(self, count: int) -> None:
        self.set_up((0.0,) * MACHINES)
        self.memory.write(blob_name(Digest.of(CONTENTS[0]["x"])), CONTENTS[0]["x"])
        self.save(1)
        self.sweep(0)
        for _ in range(count):
            self.tasks[1].actor.step()

    @rule(n=st.integers(0, MACHINES - 1))
    def save(self, n: int) -> None:
        store, payload = self.stores[n], Payload(files=CONTENTS[0])
        self.start(lambda: store.save(KEYS[0], payload), is_save=True)

    @rule(n=st.integers(0, MACHINES - 1))
    def sweep(self, n: int) -> None:
        refs = self.stores[n]._refs
        self.start(lambda: self.sweep_of(refs, True).run())


class SweepingRefsFirst(OneBlob):
    def sweep_of(self, refs: Refs, now: bool) -> Sweep:
        return RefsFirst(refs, keep_newer=timedelta(hours=1), now=now, dry_run=False)


class Careless(DeletionLog):
    """What a save that does not look again would believe."""

    def confirm(self, since: GcSnapshot, sizes: Mapping[str, int], **how: object) -> BlobFate:
        return BlobFate.THERE


class SavingCarelessly(OneBlob):
    def machine(self, n: int) -> Store:
        store = super().machine(n)
        store._refs.deletions = Careless(store.backend, store.index)
        return store


def short(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # To make one of these smaller takes minutes.
        suppress_health_check=list(HealthCheck),
    )


def few_steps(examples: int) -> settings:
    return settings(short(examples), stateful_step_count=8)


@pytest.mark.parametrize("machines", [Machines, MachinesElsewhere])
def test_every_ref_that_was_returned_loads(machines: type[Machines]) -> None:
    run_state_machine_as_test(machines, settings=short(25))


@pytest.mark.stress
@pytest.mark.parametrize("machines", [Machines, MachinesElsewhere, OneBlob])
def test_every_ref_that_was_returned_loads_for_long(machines: type[Machines]) -> None:
    run_state_machine_as_test(machines, settings=settings(short(3000), stateful_step_count=50))


def test_a_blob_that_is_taken_up_while_it_is_swept_stays() -> None:
    run_state_machine_as_test(OneBlob, settings=few_steps(40))


def test_a_sweep_that_lists_refs_first_is_found_out() -> None:
    with pytest.raises(AssertionError, match=r"is gone|is another"):
        run_state_machine_as_test(SweepingRefsFirst, settings=few_steps(2000))


def test_a_save_that_does_not_look_again_is_found_out() -> None:
    with pytest.raises(AssertionError, match="is gone"):
        run_state_machine_as_test(SavingCarelessly, settings=few_steps(2000))
