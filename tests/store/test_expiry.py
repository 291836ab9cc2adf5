"""A ref expires by the store's clock, whatever time its reader and its writer take it for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.errors import BackendDeniedError, BackendUnavailableError
from memoflow.index import Index
from memoflow.names import Key
from memoflow.store import Store, open_store
from tests.conftest import Clock
from tests.faults import Faulty
from tests.store.conftest import FILES, KEY, SERIES

DAY = 86400.0
OFF = pytest.mark.parametrize("days", [-3, 3])


@pytest.fixture
def off(faulty: Faulty, tmp_path: Path, clock: Clock, days: int) -> Store:
    """The store as a machine sees it whose clock is days off."""
    return open_store(faulty, cache_dir=tmp_path / "off", clock=lambda: clock.now + days * DAY)


@OFF
def test_a_reader_whose_clock_is_off_finds_what_has_not_expired(
    store: Store, off: Store, clock: Clock
) -> None:
    ref = store.save(KEY, FILES, expires=clock.now + 3600)
    clock.pass_(3599)
    assert off.find(KEY) == ref
    assert off.find(KEY) == ref  # As its index knows it by now.


@OFF
def test_a_reader_whose_clock_is_off_finds_nothing_that_has_expired(
    store: Store, off: Store, clock: Clock
) -> None:
    store.save(KEY, FILES, expires=clock.now + 3600)
    assert off.find(KEY) is not None
    clock.pass_(3600)
    assert off.find(KEY) is None


@OFF
def test_a_writer_whose_clock_is_off_makes_it_last_as_long_as_it_wants(
    store: Store, off: Store, clock: Clock, days: int
) -> None:
    off.save(KEY, FILES, expires=clock.now + days * DAY + 3600)
    clock.pass_(3599)
    assert store.find(KEY) is not None
    clock.pass_(1)
    assert store.find(KEY) is None


@OFF
def test_the_latest_of_a_series_goes_by_the_same_clock(
    store: Store, off: Store, clock: Clock
) -> None:
    lasting = store.append(SERIES, FILES)
    short = store.append(SERIES, FILES, expires=clock.now + 3600)
    assert off.latest(SERIES) == short
    clock.pass_(3600)
    assert off.latest(SERIES) == lasting


@OFF
def test_expired_refs_are_listed_in_bulk_too(store: Store, off: Store, clock: Clock) -> None:
    ref = store.append(SERIES, FILES, expires=clock.now + 3600)

    clock.pass_(3600)
    assert [ref for ref, _ in off.metas(SERIES, wanted=lambda key: True)] == [ref]


@OFF
def test_what_has_not_expired_is_not_saved_anew(store: Store, off: Store, clock: Clock) -> None:
    ref = store.save(KEY, FILES, expires=clock.now + 3600)
    assert off.save(KEY, FILES) == ref
    clock.pass_(3600)
    assert off.save(KEY, FILES) != ref


@OFF
def test_find_and_evict_agree(store: Store, off: Store, clock: Clock) -> None:
    for n in range(1, 9):
        store.save(SERIES / f"{n}", FILES, expires=clock.now + n * 600)
    clock.pass_(2400)
    gone = {key for key in off.keys(SERIES) if off.find(key) is None}
    assert gone == {ref.key for ref in off.evict().refs}


@OFF
def test_the_age_of_a_ref_goes_by_the_same_clock(store: Store, off: Store, clock: Clock) -> None:
    ref = store.save(KEY, FILES)
    hour = timedelta(hours=1)
    clock.pass_(3599)
    assert not off.is_older(ref, hour)
    clock.pass_(1)
    assert off.is_older(ref, hour)


def test_what_was_written_anew_is_as_young_as_it_is(
    store: Store, there: Store, clock: Clock
) -> None:
    store.save(KEY, FILES, expires=clock.now + 3600)
    assert there.find(KEY) is not None
    clock.pass_(3600)
    assert there.find(KEY) is None
    ref = store.save(KEY, FILES, expires=clock.now + 3600)
    there.index.drop([KEY])
    assert there.find(KEY) == ref


def calls(faulty: Faulty) -> dict[str, int]:
    return {verb: count for verb, count in faulty.calls.items() if count}


def test_what_never_expires_costs_no_call(store: Store, faulty: Faulty) -> None:
    store.save(KEY, FILES)
    faulty.calls.clear()
    assert store.find(KEY) is not None
    assert calls(faulty) == {}


def test_what_expires_costs_one_listing_and_the_time_once(
    store: Store, faulty: Faulty, clock: Clock
) -> None:
    for n in range(5):
        store.save(SERIES / f"{n}", FILES, expires=clock.now + 3600)
    faulty.calls.clear()
    for n in range(5):
        assert store.find(SERIES / f"{n}") is not None
    # One listing of the folder, and a write and a listing for the time.
    assert calls(faulty) == {"list": 2, "write": 1}


class Failing(Faulty):
    """A backend where some verbs fail."""

    def __init__(self, faulty: Faulty, error: Exception, *verbs: str) -> None:
        super().__init__(faulty.backend)
        self._error, self._verbs = error, verbs

    def _call(self, verb, act):  # type: ignore[no-untyped-def]
        if verb in self._verbs:
            raise self._error
        return super()._call(verb, act)


@pytest.mark.parametrize(
    ("error", "verbs"),
    [
        (BackendDeniedError("read-only"), ("write",)),
        (BackendUnavailableError("down"), ("write", "list")),
    ],
    ids=["read-only", "down"],
)
def test_where_the_time_cannot_be_asked_our_clock_does(
    store: Store, faulty: Faulty, tmp_path: Path, clock: Clock, error: Exception, verbs: list[str]
) -> None:
    ref = store.save(KEY, FILES, expires=clock.now + 3600)
    index = Index(tmp_path / "index.sqlite", clock=clock)
    reader = Store(store.id, Failing(faulty, error, *verbs), index, clock=clock)
    assert reader.find(KEY) == ref
    clock.pass_(3600)
    assert reader.find(KEY) is None


@OFF
def test_who_may_not_write_goes_by_what_this_machine_last_knew(
    store: Store, off: Store, faulty: Faulty, clock: Clock, days: int
) -> None:
    ref = store.save(KEY, FILES, expires=clock.now + 3600)
    off.evict()  # Which asks for the time.
    reader = Store(
        store.id,
        Failing(faulty, BackendDeniedError("read-only"), "write"),
        off.index,
        clock=lambda: clock.now + days * DAY,
    )
    assert reader.find(KEY) == ref
    clock.pass_(3600)
    assert reader.find(KEY) is None


def test_what_is_gone_is_as_old_as_it_says(store: Store, clock: Clock) -> None:
    ref = store.save(KEY, FILES, expires=clock.now + 3600)
    store.backend.delete([f"refs/{KEY}"])
    assert store.find(KEY) == ref  # `load` finds out.
    clock.pass_(3600)
    assert store.find(KEY) is None


def test_a_key_of_one_part_has_a_folder_too(store: Store, clock: Clock) -> None:
    ref = store.save(Key.of("model"), FILES, expires=clock.now + 3600)
    assert store.find(Key.of("model")) == ref
