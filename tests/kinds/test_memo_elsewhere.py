"""Memos in a bucket: another machine finds many of them by a few requests, and is never misled."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.errors import NotFoundError
from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import memo, retention
from memoflow.kinds.candidates import Candidates
from memoflow.kinds.nearest import EarlierResults
from memoflow.names import Digest, Key, Ref
from memoflow.store import Payload, Store, open_store
from memoflow.store.refs.ref_file import decode, encode
from tests.faults import Faulty

CODE = (Part("code", "train()", "1", "train.py:4"),)
CODE_KEY = memo.code_key("Sweep", "fit", Fingerprint.of(CODE))
COUNT = 40


def inputs(n: int) -> tuple[Part, ...]:
    return (Part("input", "input", f"d{n}", summary=str(n)),)


def record(store: Store, n: int, origin: str = "Sweep/1/fit") -> None:
    result = memo.Result(f"{origin}/{n}", 1.5, {}, {"_foreach_var": None}, inputs(n))
    memo.record(store, CODE_KEY, CODE, result)


@pytest.fixture
def there() -> Faulty:
    return Faulty(Memory(), takes_round_trips=True)


@pytest.fixture
def machines(there: Faulty, tmp_path: Path) -> list[Store]:
    """Four that know nothing of each other but the place where bytes are kept."""
    return [open_store(there, cache_dir=tmp_path / str(n)) for n in range(4)]


@pytest.fixture
def filled(machines: list[Store]) -> list[Store]:
    for n in range(COUNT):
        record(machines[0], n)
    return machines


def found(store: Store) -> list[str | None]:
    entries = [Candidates(store, CODE_KEY).find(inputs(n)) for n in range(COUNT)]
    return [entry and entry.origin for entry in entries]


def test_recording_takes_four_requests_a_task_once_the_scope_is_known(
    machines: list[Store], there: Faulty
) -> None:
    requests = []
    for n in range(4):
        there.calls.clear()
        record(machines[0], n)
        requests.append(sum(there.calls.values()))
    assert requests[1:] == [4, 4, 4]


def test_on_another_machine_the_code_of_a_known_scope_costs_one_request(
    filled: list[Store], there: Faulty
) -> None:
    there.calls.clear()
    record(filled[1], COUNT)
    first = sum(there.calls.values())
    there.calls.clear()
    record(filled[1], COUNT + 1)
    # The others are for the read-set, and for what was deleted so far.
    assert first - sum(there.calls.values()) == 3


def test_asking_why_elsewhere_takes_few_requests(filled: list[Store], there: Faulty) -> None:
    parts = (Part("code", "train()", "2", "train.py:4"),)
    scope = memo.code_key("Sweep", "fit", Fingerprint.of(parts))
    there.calls.clear()
    assert EarlierResults(filled[2], scope, parts).nearest(inputs(99)) is not None
    # Two lists, as many results as are compared, once more when they are read, and the code.
    assert sum(there.calls.values()) <= 2 + 2 * 16 + 3


def test_what_one_machine_bundled_another_finds_by_a_few_requests(
    filled: list[Store], there: Faulty
) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    there.calls.clear()
    filled[2].remembered.prefetch(CODE_KEY)
    assert list(Candidates(filled[2], CODE_KEY).read_sets()) == [("input",)]
    assert found(filled[2]) == [f"Sweep/1/fit/{n}" for n in range(COUNT)]
    assert there.calls == {"list": 2, "read": 1}


def test_what_is_not_there_costs_no_request_each(filled: list[Store], there: Faulty) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    there.calls.clear()
    for n in range(COUNT, 2 * COUNT):
        assert Candidates(filled[1], CODE_KEY).find(inputs(n)) is None
    assert not there.calls


def test_what_was_recorded_since_the_bundle_is_found(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    record(filled[0], COUNT)
    filled[2].remembered.prefetch(CODE_KEY)
    assert Candidates(filled[2], CODE_KEY).find(inputs(COUNT)) is not None


def test_what_was_forgotten_since_the_bundle_is_not_found(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    entry = Candidates(filled[1], CODE_KEY).find(inputs(7))
    filled[0].forget(entry.ref.key)
    filled[2].remembered.prefetch(CODE_KEY)
    assert Candidates(filled[2], CODE_KEY).find(inputs(7)) is None
    assert Candidates(filled[2], CODE_KEY).find(inputs(8)) is not None


def test_what_was_made_anew_since_the_bundle_is_read_anew(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    entry = Candidates(filled[1], CODE_KEY).find(inputs(7))
    filled[0].forget(entry.ref.key)
    record(filled[0], 7, origin="Sweep/2/fit")
    filled[2].remembered.prefetch(CODE_KEY)
    assert Candidates(filled[2], CODE_KEY).find(inputs(7)).origin == "Sweep/2/fit/7"


def test_what_is_looked_for_afresh_is_found_at_once(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    record(filled[0], COUNT)
    assert Candidates(filled[1], CODE_KEY).find(inputs(COUNT)) is None
    assert Candidates(filled[1], CODE_KEY).anew().find(inputs(COUNT)) is not None


def test_bundles_stay_few(filled: list[Store]) -> None:
    for n in range(COUNT, COUNT + 5 * 35):
        record(filled[0], n)
        if (n + 1) % 35 == 0:
            filled[0]._refs.prefetch._looked.clear()
            filled[0].remembered.prefetch(CODE_KEY)
    assert len(list(filled[0].backend.list("bundles"))) <= 5
    filled[2].remembered.prefetch(CODE_KEY)
    assert None not in found(filled[2])


def test_a_damaged_bundle_is_done_without(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    for bundle in list(filled[1].backend.list("bundles")):
        data = bytearray(filled[1].backend.read(bundle.name))
        data[len(data) // 2] ^= 1
        filled[1].backend.write(bundle.name, bytes(data))
    filled[2].remembered.prefetch(CODE_KEY)
    assert found(filled[2]) == [f"Sweep/1/fit/{n}" for n in range(COUNT)]
    assert not list(filled[2].backend.list("quarantine"))


def test_a_forged_line_of_a_bundle_is_not_believed(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    (bundle,) = filled[1].backend.list("bundles")
    lines = [
        json.loads(line)
        for line in gzip.decompress(filled[1].backend.read(bundle.name)).splitlines()
    ]
    for line in lines:
        line[2] = line[2].replace("Sweep/1/fit", "Sweep/9/fit")
    data = gzip.compress("\n".join(map(json.dumps, lines)).encode())
    filled[1].backend.delete([bundle.name])
    folder = bundle.name.rpartition("/")[0]
    filled[1].backend.write(f"{folder}/{Digest.of(data).hex}", data)
    filled[2].remembered.prefetch(CODE_KEY)
    assert found(filled[2]) == [f"Sweep/1/fit/{n}" for n in range(COUNT)]


def test_where_nothing_may_be_written_reading_ahead_works(
    filled: list[Store], there: Faulty
) -> None:
    there.fail_at("write")
    filled[1].remembered.prefetch(CODE_KEY)
    assert None not in found(filled[1])


def test_where_asking_costs_nothing_nothing_is_prefetched(tmp_path: Path) -> None:
    backend = Faulty(Memory())
    store = open_store(backend, cache_dir=tmp_path)
    record(store, 1)
    backend.calls.clear()
    assert store.remembered.prefetch(CODE_KEY) == []
    assert not backend.calls


SERIES = Key.of("memo", "Sweep", "fit", "scope", "results", "inputs", "refs")


@pytest.fixture
def remade(machines: list[Store]) -> tuple[Store, Store, Ref, Ref]:
    """One machine has read ahead what the other then forgot and saved anew, under the same key."""
    here, other = machines[:2]
    old = other.append(SERIES, Payload(files={"x": b"a" * 3000}))
    here.remembered.prefetch(Key.of("memo", "Sweep", "fit", "scope"))
    other.forget(old.key)
    new = other.append(SERIES, Payload(files={"x": b"b" * 3000}))
    assert old.key == new.key
    return here, other, old, new


def test_a_sweep_goes_by_what_is_there_and_not_by_what_was_prefetched(remade, tmp_path) -> None:
    here, other, _, new = remade
    here.sweep(now=True)
    assert (other.load(new, tmp_path / "out") / "x").read_bytes() == b"b" * 3000
    assert other.verify() == []


def test_what_was_prefetched_makes_nobody_drop_what_is_there_now(remade, tmp_path) -> None:
    here, other, old, new = remade
    other.sweep(now=True)
    with pytest.raises(NotFoundError):
        here.load(old, tmp_path / "out")
    assert (other.load(new, tmp_path / "out") / "x").read_bytes() == b"b" * 3000


def test_what_a_worker_recorded_since_is_found_and_kept(there: Faulty, tmp_path: Path) -> None:
    scheduler, worker = (open_store(there, cache_dir=tmp_path) for _ in range(2))
    scheduler.remembered.prefetch(CODE_KEY)
    record(worker, 1)
    entry = Candidates(scheduler, CODE_KEY).find(inputs(1))
    assert entry is not None
    assert scheduler.index.lookup(entry.ref.key) == entry.ref


def test_tidying_reads_the_bundles_and_not_each_result(filled: list[Store], there: Faulty) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    there.calls.clear()
    retention.tidy(filled[2], older_than=timedelta(days=1), dry_run=True)
    # The sweep reads each ref itself: it deletes what none of them reaches.
    assert there.calls["read"] < COUNT + 20


def test_what_results_refer_to_is_read_from_the_bundles(filled: list[Store], there: Faulty) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    there.calls.clear()
    assert memo.references(filled[2]) == set()
    assert sum(there.calls.values()) <= 5


def test_an_index_is_rebuilt_from_the_bundles(filled: list[Store], there: Faulty) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    there.calls.clear()
    filled[2].reindex()
    assert there.calls["read"] <= 5
    assert filled[2].index.entries().keys() == set(map(str, filled[0].keys()))


def test_what_results_refer_to_is_told_as_it_is_since_the_bundle(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    filled[0].forget(Candidates(filled[0], CODE_KEY).find(inputs(7)).ref.key)
    result = memo.Result(
        "Sweep/2/fit/7", 1.5, {}, {"_foreach_var": None}, inputs(7), refers_to=("model/A/b/c",)
    )
    memo.record(filled[0], CODE_KEY, CODE, result)
    assert memo.references(filled[1]) == {"model/A/b/c"}


def test_a_damaged_ref_keeps_nobody_from_tidying(filled: list[Store]) -> None:
    ref = Candidates(filled[0], CODE_KEY).find(inputs(7)).ref
    filled[0].backend.write(f"refs/{ref.key}", b"\xff" * 100)
    memo.references(filled[2])
    assert [found.name for found in filled[2].quarantined()] == [f"quarantine/refs/{ref.key}"]
    assert filled[2].find(ref.key) is None


def forge(store: Store, change: Callable[[Key, bytes], bytes]) -> None:
    """Put a bundle in the place of the one there is, whose lines are whole and not true."""
    (bundle,) = store.backend.list("bundles")
    lines = []
    for line in gzip.decompress(store.backend.read(bundle.name)).splitlines():
        key, version, text = json.loads(line)
        lines.append(json.dumps([key, version, change(Key.parse(key), text.encode()).decode()]))
    data = gzip.compress("\n".join(lines).encode())
    store.backend.delete([bundle.name])
    folder = bundle.name.rpartition("/")[0]
    store.backend.write(f"{folder}/{Digest.of(data).hex}", data)


def over(key: Key, data: bytes) -> bytes:
    """Return the ref as one that expired long ago."""
    stored = decode(key, data)
    size = stored.ref.size_bytes
    made = {"size_bytes": size, "new_bytes": size, "created": 1.0, "expires": 2.0}
    return encode(key, stored.manifest, meta=stored.meta or {}, **made)[1]


def newer(key: Key, data: bytes) -> bytes:
    """Return the ref as of a later format."""
    head = data.splitlines()[0].replace(b'"format":1', b'"format":9')
    return head + b"\n" + Digest.of(head).encode() + b"\n"


def test_a_forged_bundle_evicts_nothing(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    forge(filled[1], over)
    assert retention.tidy(filled[2])[0].refs == ()


def test_a_bundle_of_a_newer_memoflow_stops_nobody(filled: list[Store]) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    forge(filled[1], newer)
    filled[2].reindex()
    assert filled[2].index.entries().keys() == set(map(str, filled[0].keys()))
    retention.tidy(filled[3])


def test_bundles_that_say_nothing_are_done_without(filled: list[Store], there: Faulty) -> None:
    filled[1].remembered.prefetch(Key.of("memo"))
    for bundle in list(there.list("bundles")):
        there.backend.delete([bundle.name])
        there.backend.write(bundle.name, b"archived")
    filled[2].reindex()
    assert filled[2].index.entries().keys() == set(map(str, filled[0].keys()))


def test_tidying_leaves_the_bundles_that_tasks_read(filled: list[Store], there: Faulty) -> None:
    filled[1].remembered.prefetch(CODE_KEY)
    before = {bundle.name for bundle in there.list("bundles")}
    retention.tidy(filled[2], dry_run=True)
    filled[2].remembered.prefetch(Key.of("memo"))
    assert before <= {bundle.name for bundle in there.list("bundles")}


def test_what_expired_by_a_wrong_clock_is_still_referred_to(there: Faulty, tmp_path: Path) -> None:
    store = open_store(there, cache_dir=tmp_path / "a")
    result = memo.Result(
        "Sweep/1/fit/1", 1.5, {}, {"_foreach_var": None}, inputs(1), refers_to=("model/A/b/c",)
    )
    memo.record(store, CODE_KEY, CODE, result, expires=time.time() + 3600)
    ahead = open_store(there, cache_dir=tmp_path / "b", clock=lambda: time.time() + 3 * 86400)
    assert memo.references(ahead) == {"model/A/b/c"}


def test_a_reference_that_is_no_key_stops_no_tidying(machines: list[Store]) -> None:
    result = memo.Result(
        "Sweep/1/fit/1", 1.5, {}, {"_foreach_var": None}, inputs(1), refers_to=("a//b",)
    )
    memo.record(machines[0], CODE_KEY, CODE, result)
    retention.tidy(machines[1])
