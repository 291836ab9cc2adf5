"""Whatever two machines do to one store, in any order, and wherever one of them dies."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from memoflow.backends import Memory
from memoflow.errors import NotFoundError
from memoflow.names import Key, Ref
from memoflow.store import Payload, Store, open_store
from tests.conftest import Clock
from tests.faults import Died, Faulty
from tests.store.conftest import contents

KEYS = st.sampled_from([Key.of("model", name) for name in "abc"])
SERIES = Key.of("checkpoint", "F")
# Few contents, so that saves share pieces; on both sides of what is kept inline.
FILES = st.dictionaries(
    st.sampled_from(["x", "y", "d/z"]),
    st.sampled_from([b"", b"a" * 900, b"b" * 1100, b"c" * 5000, b"d" * 70_000]),
    max_size=3,
)
MACHINES = st.sampled_from([0, 1])


class TwoMachines(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.scratch = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.memory = Memory(clock=self.clock)
        self.faulty = [Faulty(self.memory), Faulty(self.memory)]
        self.stores = [self.machine(n) for n in range(2)]
        self.saved: dict[Key, tuple[Ref, dict[str, bytes]]] = {}
        self.doubtful: set[Key] = set()
        self.forgotten: list[set[Key]] = [set(), set()]

    def machine(self, n: int) -> Store:
        cache = Path(self.scratch.name) / str(n)
        return open_store(self.faulty[n], cache_dir=cache, clock=self.clock)

    @rule(n=MACHINES, key=KEYS, files=FILES)
    def save(self, n: int, key: Key, files: dict[str, bytes]) -> None:
        ref = self.stores[n].save(key, Payload(files=files))
        if key not in self.saved:
            self.commit(n, ref, files)
        assert self.saved[key][0] == ref

    @rule(n=MACHINES, files=FILES)
    def append(self, n: int, files: dict[str, bytes]) -> None:
        ref = self.stores[n].append(SERIES, Payload(files=files))
        assert ref.key not in self.saved
        self.commit(n, ref, files)

    def commit(self, n: int, ref: Ref, files: dict[str, bytes]) -> None:
        # One that died on its way may have been completed before: then that is what is there.
        if ref.key not in self.doubtful:
            self.saved[ref.key] = (ref, files)
        else:
            with tempfile.TemporaryDirectory() as out:
                self.saved[ref.key] = (ref, contents(self.stores[n].load(ref, Path(out))))
            self.doubtful.discard(ref.key)
        for forgotten in self.forgotten:
            forgotten.discard(ref.key)

    @rule(n=MACHINES, key=KEYS, files=FILES, nth=st.integers(1, 5), after=st.booleans())
    def die_while_saving(
        self, n: int, key: Key, files: dict[str, bytes], nth: int, after: bool
    ) -> None:
        faulty = self.faulty[n]
        (faulty.die_after if after else faulty.die_at)("write", nth=nth)
        try:
            ref = self.stores[n].save(key, Payload(files=files))
        except Died:
            if key not in self.saved:
                self.doubtful.add(key)
                self.forgotten[0].discard(key)
                self.forgotten[1].discard(key)
        else:
            if key not in self.saved:
                self.commit(n, ref, files)
        faulty.relent()
        self.stores[n].close()
        self.stores[n] = self.machine(n)

    @rule(n=MACHINES, key=KEYS)
    def forget(self, n: int, key: Key) -> None:
        self.stores[n].forget(key)
        self.gone(n, key)

    def gone(self, n: int, key: Key) -> None:
        self.saved.pop(key, None)
        self.doubtful.discard(key)
        self.forgotten[n].add(key)

    @rule(n=MACHINES, budget=st.sampled_from([0, 6000, 80_000]))
    def evict(self, n: int, budget: int) -> None:
        for ref in self.stores[n].evict(max_size_bytes=budget).refs:
            self.gone(n, ref.key)

    @rule(n=MACHINES, now=st.booleans())
    def sweep(self, n: int, now: bool) -> None:
        self.stores[n].sweep(now=now)

    @rule(n=MACHINES, nth=st.integers(1, 3))
    def die_while_sweeping(self, n: int, nth: int) -> None:
        self.faulty[n].die_at("delete", nth=nth)
        with suppress(Died):
            self.stores[n].sweep(now=True)
        self.faulty[n].relent()

    @rule(n=MACHINES)
    def lose_the_index(self, n: int) -> None:
        self.stores[n].close()
        path = self.stores[n].index.path
        assert path is not None
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
        self.stores[n] = self.machine(n)

    @rule(n=MACHINES)
    def reindex(self, n: int) -> None:
        self.stores[n].reindex()

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.clock.pass_(timedelta(hours=hours).total_seconds())

    @rule(n=MACHINES)
    def find_what_is_gone(self, n: int) -> None:
        store = self.stores[n]
        for key in [Key.of("model", name) for name in "abc"]:
            if key in self.saved or key in self.doubtful:
                continue
            ref = store.find(key)
            if ref is not None:
                with pytest.raises(NotFoundError):
                    store.manifest(ref)
                assert store.find(key) is None

    @invariant()
    def what_was_saved_loads_equal(self) -> None:
        for n, store in enumerate(getattr(self, "stores", [])):
            for key, (ref, files) in self.saved.items():
                found = store.find(key)
                assert found is not None
                if found != ref:  # Another machine made it anew; the index finds out.
                    with pytest.raises(NotFoundError):
                        store.manifest(found)
                    assert store.find(key) == ref
                assert (
                    contents(store.load(ref, Path(self.scratch.name) / f"{n}-{ref.digest.hex}"))
                    == files
                )

    @invariant()
    def what_a_machine_forgot_it_does_not_find(self) -> None:
        for n, store in enumerate(getattr(self, "stores", [])):
            forgotten = self.forgotten[n]
            assert [key for key in forgotten if store.find(key) is not None] == []

    @invariant()
    def nothing_is_damaged(self) -> None:
        if hasattr(self, "stores"):
            # But an index may know what another machine has forgotten.
            assert [each for each in self.stores[0].verify() if not each.harmless] == []

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            for store in self.stores:
                store.close()
            self.scratch.cleanup()


TestTwoMachines = TwoMachines.TestCase
TestTwoMachines.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


@pytest.mark.stress
class TestTwoMachinesForLong(TwoMachines.TestCase):
    settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
