"""What saves and sweeps ask of a backend elsewhere, where each call takes a round trip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from memoflow.backends import Data, Found, Memory
from memoflow.index import Index
from memoflow.store import Payload, Store
from tests.conftest import Clock
from tests.store.conftest import SERIES, blobs, contents


class Elsewhere(Memory):
    """Memory that counts requests: one for each name that is asked for, and for each list."""

    takes_round_trips = True

    def __init__(self, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.requests: Counter[str] = Counter()

    def read(self, name: str, **options: int) -> bytes | None:
        self.requests["read"] += 1
        return super().read(name, **options)

    def write(
        self, name: str, data: Data, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        self.requests["write"] += 1
        return super().write(name, data, if_absent=if_absent)

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        self.requests["sizes"] += len(names)
        return super().sizes(names)

    def list(self, prefix: str) -> Iterator[Found]:
        self.requests["list"] += 1
        return super().list(prefix)

    def delete(self, names: Sequence[str]) -> None:
        self.requests["delete"] += -(-len(names) // 1000)
        super().delete(names)

    def since(self) -> Counter[str]:
        """Return the requests since this was last asked."""
        counted, self.requests = self.requests, Counter()
        return counted


@pytest.fixture
def far(clock: Clock) -> Elsewhere:
    return Elsewhere(clock=clock)


def process(far: Elsewhere, machine: Path, clock: Clock) -> Store:
    """Return the store as a new process of a machine sees it."""
    return Store("0" * 32, far, Index(machine / "index.sqlite", clock=clock), clock=clock)


def write(folder: Path, files: dict[str, bytes]) -> Payload:
    for name, content in files.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return Payload(tree=folder)


def two(folder: Path, n: int) -> Payload:
    return write(folder, {"a": b"%d" % n * 2000, "b": b"b%d" % n * 1000})


def test_a_checkpoint_of_two_files_takes_five_requests(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    store = process(far, tmp_path / "here", clock)
    for n in range(4):
        store.append(SERIES, two(tmp_path / "tree", n), token="ab")
        requests = far.since()
    assert requests.total() == 5, requests


@pytest.mark.parametrize("swept", [False, True])
def test_the_first_checkpoint_of_a_process_takes_no_more(
    far: Elsewhere, tmp_path: Path, clock: Clock, swept: bool
) -> None:
    before = process(far, tmp_path / "here", clock)
    before.append(SERIES, two(tmp_path / "tree", 1))
    if swept:
        before.save(SERIES / "other", Payload(files={"x": b"x" * 3000}))
        before.forget(SERIES / "other")
        assert before.sweep(now=True).blobs == 1
        before.append(SERIES, two(tmp_path / "tree", 2))
    before.close()
    far.since()
    store = process(far, tmp_path / "here", clock)
    store.append(SERIES, two(tmp_path / "tree", 3))
    requests = far.since()
    assert requests.total() == 5, requests


def test_the_first_checkpoint_on_a_machine_takes_seven_requests(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    process(far, tmp_path / "there", clock).append(SERIES, two(tmp_path / "tree", 1))
    far.since()
    process(far, tmp_path / "here", clock).append(SERIES, two(tmp_path / "tree", 2))
    requests = far.since()
    assert requests.total() == 7, requests


def test_ten_thousand_small_files_take_a_few_writes(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    store = process(far, tmp_path / "here", clock)
    store.append(SERIES, Payload(files={f"{n}": b"%5d" % n * 400 for n in range(10_000)}))
    requests = far.since()
    assert requests["write"] <= 8, requests
    assert requests["sizes"] == 0
    assert requests.total() <= 12, requests


def test_an_unchanged_save_of_a_large_tree_writes_its_ref_and_nothing_else(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    tree = write(tmp_path / "tree", {f"{n}": b"%5d" % n * 300 for n in range(2000)})
    store = process(far, tmp_path / "here", clock)
    store.append(SERIES, tree)
    before = blobs(far)
    far.since()
    ref = store.append(SERIES, tree)
    requests = far.since()
    assert ref.new_bytes == 0
    assert blobs(far) == before
    assert requests["write"] == 1
    assert requests.total() <= 5, requests


def test_after_a_sweep_what_is_saved_again_is_looked_at_once(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    store, there = process(far, tmp_path / "here", clock), process(far, tmp_path / "there", clock)
    tree = two(tmp_path / "tree", 1)
    store.append(SERIES, tree)
    there.save(SERIES / "other", Payload(files={"x": b"x" * 3000}))
    there.forget(SERIES / "other")
    assert there.sweep(now=True).blobs == 1
    looked = []
    for _ in range(3):
        far.since()
        store.append(SERIES, tree)
        looked.append(far.since()["sizes"])
    assert looked == [1, 0, 0]


def test_bytes_that_lie_elsewhere_are_not_fetched_to_be_compared(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    store = process(far, tmp_path / "here", clock)
    tree = two(tmp_path / "tree", 1)
    store.append(SERIES, tree)
    far.since()
    other = store.append(SERIES / "other", tree)
    assert far.since()["read"] <= 2
    assert other.new_bytes == other.size_bytes
    assert len(contents(store.load(other, tmp_path / "out"))) == 2


def test_a_second_sweep_reads_only_new_refs(far: Elsewhere, tmp_path: Path, clock: Clock) -> None:
    store = process(far, tmp_path / "here", clock)
    refs = [store.append(SERIES, two(tmp_path / "tree", n)) for n in range(30)]
    store.sweep()
    process(far, tmp_path / "there", clock).append(SERIES, two(tmp_path / "tree", 99))
    far.since()
    again = process(far, tmp_path / "here", clock)
    again.sweep()
    # The list of what was condemned, and the one ref.
    assert far.since()["read"] == 2
    for ref in refs:
        again.forget(ref.key)
    assert again.sweep(now=True).blobs == 30
    assert len(blobs(far)) == 1


def test_a_dry_run_is_remembered_as_well(far: Elsewhere, tmp_path: Path, clock: Clock) -> None:
    store = process(far, tmp_path / "here", clock)
    for n in range(30):
        store.append(SERIES, two(tmp_path / "tree", n))
    process(far, tmp_path / "there", clock).sweep(dry_run=True)
    far.since()
    process(far, tmp_path / "there", clock).sweep(dry_run=True)
    assert far.since()["read"] <= 1


def test_a_key_that_leads_elsewhere_by_now_is_read_again_by_a_sweep(
    far: Elsewhere, tmp_path: Path, clock: Clock
) -> None:
    store, there = process(far, tmp_path / "here", clock), process(far, tmp_path / "there", clock)
    store.save(SERIES / "x", Payload(files={"x": b"x" * 3000}))
    store.sweep()
    there.forget(SERIES / "x")
    ref = there.save(SERIES / "x", Payload(files={"x": b"y" * 3000}))
    assert store.sweep(now=True).blobs == 1
    assert contents(there.load(ref, tmp_path / "out")) == {"x": b"y" * 3000}
