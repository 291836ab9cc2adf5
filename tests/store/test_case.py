"""Keys that differ only by case are different keys, also where their names are one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.errors import BadKeyError, IntegrityError
from memoflow.names import Key, Ref
from memoflow.store import Payload, Store, open_store
from tests.blind import Blind
from tests.mounts import UnmountableError, mounted
from tests.store.conftest import blobs

UPPER, LOWER = Key.of("checkpoint", "Train", "fit"), Key.of("checkpoint", "train", "fit")
HUB, HUB_LOWER = Key.of("hub", "Org", "Model", "9f"), Key.of("hub", "org", "model", "9f")
SOON = timedelta(seconds=-60)  # As coarse as the times of some file systems are.


def files(text: str) -> Payload:
    return Payload(files={"f": text.encode() * 2000})


@pytest.fixture(params=["as on macOS", "exfat"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Local]:
    if request.param == "as on macOS":
        yield Blind(tmp_path / "store")
        return
    try:
        with mounted(tmp_path / "disk", "exfat") as disk:
            yield Local(disk / "store")
    except UnmountableError as error:
        pytest.skip(str(error))


@pytest.fixture
def store(place: Local, tmp_path: Path) -> Store:
    return open_store(place, cache_dir=tmp_path / "here")


@pytest.fixture
def there(store: Store, place: Local, tmp_path: Path) -> Store:
    """The same store with an index that knows nothing."""
    return open_store(place, cache_dir=tmp_path / "there")


def content(store: Store, key: Key) -> str:
    ref = store.find(key)
    assert ref is not None
    return store.read_file(store.manifest(ref), "f").decode()[: len("upper")]


def append(store: Store, series: Key, text: str, token: str | None = "ab") -> Ref:
    return store.append(series, files(text), token=token)


def test_series_of_both_list_their_own(store: Store, there: Store) -> None:
    upper, lower = append(store, UPPER, "upper", "aa"), append(store, LOWER, "lower", "bb")
    for each in (store, there):
        assert each.keys(UPPER) == [upper.key]
        assert each.keys(LOWER) == [lower.key]
        assert [ref.key for ref in each.series(UPPER)] == [upper.key]
        assert each.latest(LOWER) == lower
        assert each.quarantined() == []


def test_a_flow_does_not_see_what_only_another_saved(store: Store, there: Store) -> None:
    append(store, UPPER, "upper")
    assert there.keys(LOWER) == there.series(LOWER) == []
    assert there.latest(LOWER) is None
    assert there.quarantined() == []


@pytest.mark.parametrize(("one", "other"), [(HUB, HUB_LOWER), (HUB_LOWER, HUB)])
def test_of_equal_names_both_are_saved_and_found(
    store: Store, there: Store, one: Key, other: Key
) -> None:
    store.save(one, files("upper"))
    store.save(other, files("lower"))
    for each in (store, there):
        assert content(each, one) == "upper"
        assert content(each, other) == "lower"
        assert set(each.keys(Key.of("hub"))) == {HUB, HUB_LOWER}


def test_what_was_saved_beside_is_saved_once(store: Store, there: Store) -> None:
    store.save(HUB, files("upper"))
    lower = store.save(HUB_LOWER, files("lower"))
    assert there.save(HUB_LOWER, files("other")) == lower


def test_numbers_without_a_token_are_each_series_own(store: Store, there: Store) -> None:
    for number in range(3):
        append(store, UPPER, f"upper{number}", None)
        append(store, LOWER, f"lower{number}", None)
    assert [content(there, key) for key in there.keys(UPPER)] == ["upper"] * 3
    assert [content(there, key) for key in there.keys(LOWER)] == ["lower"] * 3


@pytest.mark.parametrize(("gone", "stays"), [(HUB, HUB_LOWER), (HUB_LOWER, HUB)])
def test_forgetting_one_leaves_the_other(store: Store, there: Store, gone: Key, stays: Key) -> None:
    store.save(HUB, files("upper"))
    store.save(HUB_LOWER, files("lower"))
    there.forget(gone)
    assert there.find(gone) is None
    assert there.keys(Key.of("hub")) == [stays]
    there.sweep(now=True)
    assert content(there, stays) == ("upper" if stays == HUB else "lower")


def test_forgetting_what_is_not_there_leaves_what_is(store: Store, there: Store) -> None:
    store.save(HUB, files("upper"))
    there.forget(HUB_LOWER)
    assert content(there, HUB) == "upper"


def test_one_that_is_left_beside_is_found_when_the_first_is_gone(store: Store) -> None:
    store.save(HUB, files("upper"))
    store.save(HUB_LOWER, files("lower"))
    store.forget(HUB)
    store.save(HUB, files("anew!"))
    assert content(store, HUB) == "anew!"
    assert content(store, HUB_LOWER) == "lower"


def test_evicting_below_one_leaves_the_other(store: Store, there: Store) -> None:
    upper, lower = append(store, UPPER, "upper", "aa"), append(store, LOWER, "lower", "aa")
    assert [ref.key for ref in there.evict(older_than=SOON, prefix=LOWER).refs] == [lower.key]
    assert there.keys() == [upper.key]


def test_a_sweep_keeps_what_both_reach(store: Store, there: Store) -> None:
    append(store, UPPER, "upper")
    append(store, LOWER, "lower")
    store.save(HUB, files("upper hub"))
    store.save(HUB_LOWER, files("lower hub"))
    assert there.sweep(now=True).blobs == 0
    assert len(blobs(there.backend)) == 4


def test_all_is_well_with_both(store: Store, there: Store) -> None:
    append(store, UPPER, "upper")
    append(store, LOWER, "lower")
    store.save(HUB, files("upper"))
    store.save(HUB_LOWER, files("lower"))
    assert there.verify(repair=True) == []
    assert there.reindex() == 4
    assert len(there.keys()) == 4


@pytest.mark.parametrize("hurt", [HUB, HUB_LOWER])
def test_damage_to_one_is_its_own(store: Store, there: Store, hurt: Key) -> None:
    store.save(HUB, files("upper"))
    store.save(HUB_LOWER, files("lower"))
    name = there._refs.names.of(hurt)
    data = there.backend.read(name)
    assert data is not None
    there.backend.write(name, data[:-20] + b"0" * 20)
    (problem,) = there.verify(repair=True)
    assert problem.key == hurt
    assert there.keys() == [HUB_LOWER if hurt == HUB else HUB]


def test_a_ref_of_another_key_altogether_is_damage(store: Store) -> None:
    data = store.backend.read(f"refs/{store.save(HUB, files('upper')).key}")
    assert data is not None
    store.backend.write("refs/hub/Other", data)
    with pytest.raises(IntegrityError, match="of another key"):
        store._refs.read(Key.of("hub", "Other"))


def test_what_was_copied_to_where_case_counts_is_left_alone(tmp_path: Path) -> None:
    """As of a store on macOS, whose folders serve both, copied to Linux."""
    store = open_store(tmp_path / "store", cache_dir=tmp_path / "cache")
    lower = append(store, LOWER, "lower")
    root = tmp_path / "store" / "refs" / "checkpoint"
    (root / "train").rename(root / "Train")
    (upper,) = store.keys(UPPER)
    assert upper.parts[-1] == lower.key.parts[-1]
    assert open_store(tmp_path / "store", cache_dir=tmp_path / "other").find(upper) is None
    assert store.sweep(now=True).blobs == 0
    assert all(problem.harmless for problem in store.verify(repair=True))
    assert store.quarantined() == []


def test_an_older_memoflow_takes_no_name_beside_for_a_key(store: Store) -> None:
    store.save(HUB, files("upper"))
    store.save(HUB_LOWER, files("lower"))
    beside = [name for name in (f.name for f in store.backend.list("refs")) if "+" in name]
    assert len(beside) == 1
    with pytest.raises(BadKeyError):
        Key.parse(beside[0].removeprefix("refs/"))
