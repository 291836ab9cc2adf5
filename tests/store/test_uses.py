"""What one machine used, another does not evict: uses are noted in the store, by the day."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Backend, Memory
from memoflow.errors import BackendDeniedError
from memoflow.index import Index
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from memoflow.store.gc import uses
from memoflow.store.marker_file import content, sealed
from tests.conftest import Clock
from tests.faults import Faulty
from tests.store.conftest import FILES, SERIES

DAY = 86400.0
MONTH = timedelta(days=30)
GOOD = "uses/2023-11-14/" + "a" * 32


def notes(store: Store) -> list[str]:
    return sorted(file.name for file in store.backend.list("uses"))


def digest(key: Key) -> str:
    return hashlib.sha256(str(key).encode()).hexdigest()[:16]


def used(store: Store) -> Key:
    """Save something, and return its key."""
    return store.append(SERIES, FILES).key


def use(store: Store, key: Key) -> None:
    ref = store.find(key)
    assert ref is not None
    store.touch(ref)


def evicted(store: Store, **rules: object) -> list[Key]:
    rules = rules or {"older_than": MONTH}
    return [ref.key for ref in store.evict(**rules).refs]  # type: ignore[arg-type]


def test_what_was_used_elsewhere_stays(store: Store, there: Store, clock: Clock) -> None:
    old, hit = used(store), used(store)
    clock.pass_(40 * DAY)
    use(there, hit)
    there.note_uses()
    assert evicted(store) == [old]


def test_only_what_was_noted_counts(store: Store, there: Store, clock: Clock) -> None:
    hit = used(store)
    clock.pass_(40 * DAY)
    use(there, hit)
    assert evicted(store) == [hit]


def test_a_use_counts_for_as_long_as_the_rule_says(
    store: Store, there: Store, clock: Clock
) -> None:
    hit = used(store)
    clock.pass_(40 * DAY)
    use(there, hit)
    there.note_uses()
    clock.pass_(29 * DAY)
    assert evicted(store) == []
    clock.pass_(2 * DAY)
    assert evicted(store) == [hit]


def test_of_what_is_over_a_budget_the_least_recently_used_anywhere_goes_first(
    store: Store, there: Store, clock: Clock
) -> None:
    keys = [store.append(SERIES, Payload(files={"a": bytes([n]) * 5000})).key for n in range(3)]
    clock.pass_(10 * DAY)
    use(there, keys[0])
    there.note_uses()
    clock.pass_(DAY)
    assert evicted(store, max_size_bytes=6000) == keys[1:]


def test_to_have_seen_a_ref_is_no_use(store: Store, there: Store, clock: Clock) -> None:
    key = used(store)
    clock.pass_(40 * DAY)
    assert there.find(key) is not None
    assert there.reindex() == 0
    there.note_uses()
    assert notes(store) == []
    assert evicted(there) == [key]


def test_a_machine_has_one_file_a_day(store: Store, there: Store, clock: Clock) -> None:
    keys = [used(store) for _ in range(5)]
    clock.pass_(2 * DAY)
    for key in keys:
        use(there, key)
        there.note_uses()
        clock.pass_(60)
    (name,) = notes(store)
    data = store.backend.read(name)
    assert data is not None
    assert content(data).decode().split() == [name.split("/")[1], *sorted(map(digest, keys))]


def test_nothing_used_is_nothing_written(
    store: Store, there: Store, faulty: Faulty, clock: Clock
) -> None:
    used(store)
    clock.pass_(2)
    store.note_uses()
    clock.pass_(2)
    before = faulty.calls["write"]
    store.note_uses()
    there.note_uses()
    assert faulty.calls["write"] == before


def test_what_was_not_noted_for_days_is_noted_of_these_days(
    store: Store, there: Store, clock: Clock
) -> None:
    keys = [used(store) for _ in range(2)]
    for key in keys:
        clock.pass_(10 * DAY)
        use(there, key)
    clock.pass_(20.5 * DAY)
    there.note_uses()
    clock.pass_(1 * DAY)
    assert evicted(store) == [keys[0]]
    clock.pass_(10 * DAY)
    assert evicted(store) == [keys[1]]


def test_processes_of_one_machine_lose_none_of_their_uses(
    store: Store, faulty: Faulty, tmp_path: Path, clock: Clock
) -> None:
    keys = [used(store) for _ in range(2)]
    one, other = (open_store(faulty, cache_dir=tmp_path / "both", clock=clock) for _ in range(2))
    clock.pass_(40 * DAY)
    use(one, keys[0])

    def meanwhile(name: str) -> None:
        if name.startswith("uses/"):
            faulty.before_write = None
            use(other, keys[1])
            other.note_uses()

    faulty.before_write = meanwhile  # Just before the first overwrites the second.
    one.note_uses()
    assert len(notes(store)) == 1
    assert evicted(store) == []


def test_more_than_fits_into_a_file_lies_in_several(
    store: Store, there: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "_MOST_KEYS", 2)
    keys = [used(store) for _ in range(5)]
    clock.pass_(40 * DAY)
    for key in keys:
        use(there, key)
    there.note_uses()
    assert len(notes(store)) == 3
    assert evicted(store) == []
    clock.pass_(5 * DAY)
    store.merge_uses()
    assert len(notes(store)) == 3
    assert evicted(store) == []


@pytest.mark.parametrize("days", [-3, 3])
def test_days_are_those_of_the_store(
    store: Store, faulty: Faulty, tmp_path: Path, clock: Clock, days: int
) -> None:
    off = open_store(
        faulty.backend, cache_dir=tmp_path / "off", clock=lambda: clock.now + days * DAY
    )
    key = used(store)
    clock.pass_(40 * DAY)
    use(off, key)
    off.note_uses()
    clock.pass_(29 * DAY)
    assert evicted(store) == []
    clock.pass_(2 * DAY)
    assert evicted(store) == [key]


def test_a_machine_knows_its_own_uses_to_the_second(store: Store, clock: Clock) -> None:
    keys = [used(store) for _ in range(2)]
    clock.pass_(3600)
    use(store, keys[1])
    clock.pass_(60)
    use(store, keys[0])
    store.note_uses()
    assert evicted(store, older_than=timedelta(seconds=30)) == [keys[1]]


def test_a_machine_that_lost_its_index_still_knows(
    store: Store, faulty: Faulty, tmp_path: Path, clock: Clock
) -> None:
    key = used(store)
    clock.pass_(40 * DAY)
    use(store, key)
    store.note_uses()
    store.close()
    anew = open_store(faulty.backend, cache_dir=tmp_path / "anew", clock=clock)
    assert evicted(anew) == []


def test_a_store_that_cannot_be_written_keeps_uses_here(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    class ReadOnly(Faulty):
        def write(self, *args: object, **options: object) -> bool:
            raise BackendDeniedError("read-only")

    key = used(store)
    clock.pass_(40 * DAY)
    index = Index(tmp_path / "ro" / "index.sqlite", clock=clock)
    reader = Store(store.id, ReadOnly(store.backend), index, clock=clock)
    use(reader, key)
    reader.note_uses()
    assert notes(store) == []
    writer = Store(store.id, store.backend, index, clock=clock)
    writer.note_uses()  # Nothing was noted, so all of it still is to be.
    assert len(notes(store)) == 1


def machines(store: Store, folder: Path, clock: Clock, count: int) -> Iterator[Store]:
    for number in range(count):
        yield open_store(store.backend, cache_dir=folder / f"pod{number}", clock=clock)


def test_notes_of_machines_that_are_gone_are_merged_at_once(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    key = used(store)
    clock.pass_(40 * DAY)
    for pod in machines(store, tmp_path, clock, 12):
        use(pod, key)
        pod.note_uses(once=True)
    assert len(notes(store)) == 12
    store.merge_uses()
    (merged,) = notes(store)
    assert merged.startswith("uses/merged/")
    assert evicted(store) == []


def test_what_is_merged_is_said_once_of_the_last_day(
    store: Store, there: Store, clock: Clock
) -> None:
    key = used(store)
    for _ in range(10):
        clock.pass_(5 * DAY)
        use(there, key)
        there.note_uses()
    clock.pass_(5 * DAY)
    store.merge_uses()
    (name,) = notes(store)
    data = store.backend.read(name)
    assert data is not None
    assert content(data).split() == [b"2024-01-03", digest(key).encode()]


def test_what_is_gone_is_merged_no_more(store: Store, there: Store, clock: Clock) -> None:
    keys = [used(store) for _ in range(2)]
    clock.pass_(2 * DAY)
    for key in keys:
        use(there, key)
    there.note_uses()
    store.forget(keys[0])
    clock.pass_(5 * DAY)
    store.merge_uses()
    (name,) = notes(store)
    assert digest(keys[0]).encode() not in (store.backend.read(name) or b"")


def test_the_files_of_today_and_yesterday_are_left_alone(
    store: Store, there: Store, clock: Clock
) -> None:
    key = used(store)
    for _ in range(3):
        clock.pass_(DAY)
        use(there, key)
        there.note_uses()
    before = notes(store)
    assert len(before) == 3
    store.merge_uses()
    assert notes(store) == before


class Meeting(Faulty):
    """A backend where another act happens just before the nth call of a verb."""

    def __init__(self, backend: Backend, verb: str, nth: int, act: Callable[[], object]) -> None:
        super().__init__(backend)
        self._meets, self._left, self._act = verb, nth, act
        self.met = False

    def _call(self, verb, act):  # type: ignore[no-untyped-def]
        if verb == self._meets:
            self._left -= 1
            if self._left == 0:
                self.met = True
                self._act()
        return super()._call(verb, act)


@pytest.mark.parametrize(
    ("verb", "nth"),
    [("list", 2), ("list", 3), *(("read", n) for n in range(1, 6)), ("write", 2), ("delete", 1)],
)
def test_two_that_merge_at_once_lose_no_use(
    tmp_path: Path, clock: Clock, verb: str, nth: int
) -> None:
    backend = Memory(clock=clock)
    store = open_store(backend, cache_dir=tmp_path / "here", clock=clock)
    keys = [used(store) for _ in range(9)]
    pods = list(machines(store, tmp_path, clock, 9))
    for key, pod in zip(keys, pods, strict=True):
        clock.pass_(DAY)
        use(pod, key)
        pod.note_uses(once=True)
        if pod is pods[4]:
            clock.pass_(4 * DAY)
            store.merge_uses()
    clock.pass_(4 * DAY)

    def meanwhile() -> None:
        use(pods[0], keys[0])
        pods[0].note_uses(once=True)
        store.merge_uses()

    meeting = Meeting(backend, verb, nth, meanwhile)
    other = Store(store.id, meeting, store.index, clock=clock)
    other.merge_uses()
    assert meeting.met
    found = uses.latest(backend, store.index, keys, known=(), now=clock.now)
    assert found.keys() == set(keys)
    assert found[keys[0]] > clock.now - 2 * DAY


@pytest.mark.parametrize("verb", ["write", "delete"])
def test_a_merge_that_dies_loses_no_use(
    store: Store, faulty: Faulty, tmp_path: Path, clock: Clock, verb: str
) -> None:
    key = used(store)
    clock.pass_(2 * DAY)
    for pod in machines(store, tmp_path, clock, 2):
        use(pod, key)
        pod.note_uses()
    clock.pass_(35 * DAY)
    store.evict()  # Which knows the time by now, so that the first write is that of the merge.
    faulty.fail_at(verb)
    with pytest.raises(Exception, match="on purpose"):
        store.merge_uses()
    found = uses.latest(store.backend, store.index, [key], known=(), now=clock.now)
    assert found.keys() == {key}


CRAFTED = {
    "empty": b"",
    "no seal": b"2023-11-14\n" + b"0" * 16 + b"\n",
    "a bad seal": b"2023-11-14\n" + b"0" * 16 + b"\n\ncrc32:00000000",
    "no day": sealed(b"0" * 16 + b"\n"),
    "no calendar has it": sealed(b"2023-13-40\n"),
    "a day to come": sealed(b"9999-12-31\n" + b"0" * 16 + b"\n"),
    "year 0": sealed(b"0000-01-01\n"),
    "other digits": sealed("\uff12\uff10\uff12\uff13-11-14\n".encode()),
    "a short line": sealed(b"2023-11-14\n0123\n"),
    "no last end": sealed(b"2023-11-14\n" + b"0" * 16),
    "no text": sealed(b"\xff\xfe\n"),
    "a long line": sealed(b"2023-11-14\n" + b"0" * 5_000_000 + b"\n"),
    "huge": sealed(b"2023-11-14\n" + b"0000000000000000\n" * 600_000),
    "escapes": sealed(b"\x1b]52;c;aGk=\x07\n"),
}


@pytest.mark.parametrize("data", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_note_costs_one_line_and_no_more(
    store: Store,
    there: Store,
    clock: Clock,
    data: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hit, old = used(store), used(store)
    clock.pass_(40 * DAY)
    use(there, hit)
    there.note_uses()
    for name in (GOOD, f"uses/merged/{'b' * 64}", "uses/x", "uses/2023-11-14/x/y"):
        store.backend.write(name, data)
    with caplog.at_level(logging.WARNING):
        assert evicted(store) == [old]
    assert len(caplog.records) == 1
    assert "\x1b" not in caplog.text
    clock.pass_(4 * DAY)
    store.merge_uses()
    assert len(notes(store)) == 1
    caplog.clear()
    assert evicted(store) == []
    assert caplog.records == []


def test_a_note_that_cannot_be_read_now_is_passed_over_and_kept(
    store: Store, there: Store, faulty: Faulty, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    key = used(store)
    clock.pass_(2 * DAY)
    use(there, key)
    there.note_uses()
    clock.pass_(35 * DAY)
    store.evict()
    before = notes(store)
    faulty.fail_at("read")
    store.merge_uses()
    assert set(before) <= set(notes(store))
    assert len(caplog.records) == 1


def test_verify_finds_damaged_notes_and_removes_them(store: Store, clock: Clock) -> None:
    used(store)
    store.note_uses()
    assert store.verify() == []
    store.backend.write(GOOD, b"damaged")
    (problem,) = store.verify(repair=True)
    assert (problem.name, problem.harmless, problem.done) == (GOOD, True, "removed")
    assert store.verify() == []


def test_the_name_of_a_machine_says_nothing_of_it(store: Store) -> None:
    import platform

    used(store)
    store.note_uses()
    (name,) = notes(store)
    assert platform.node() not in name
