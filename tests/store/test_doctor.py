"""doctor says what a store's surroundings are, what to do about them, and leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Backend, Local, Memory, Unconditional, exclusive
from memoflow.errors import BackendDeniedError
from memoflow.store import open_store
from memoflow.store.check import doctor
from memoflow.store.check.doctor import Check, Severity, examine, of_settings, of_versions, of_way
from tests.faults import Faulty
from tests.store.conftest import FILES, KEY
from tests.unprivileged import as_nobody


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a store is, with an index in cache/."""
    store = open_store(Local(tmp_path / "store"), cache_dir=tmp_path / "cache")
    store.save(KEY, FILES)
    store.close()
    return tmp_path


def look(backend: Backend, place: Path, **more: Any) -> list[Check]:
    return examine(backend, settings={}, cache=place / "cache" / "memoflow", **more)


def named(checks: list[Check] | Iterator[Check], name: str, verdict: Severity) -> str:
    """The one thing of that name with that verdict; all but `ok` come with a remedy."""
    found = [check for check in checks if (check.name, check.verdict) == (name, verdict)]
    assert len(found) == 1, found
    assert bool(found[0].advice) == (verdict is not Severity.OK)
    return found[0].what


def test_a_good_store_on_a_good_disk_is_in_no_trouble(place: Path) -> None:
    checks = look(Local(place / "store"), place)
    assert [check for check in checks if check.verdict is Severity.FAIL] == []
    assert {check.name for check in checks} >= {
        "settings", "versions", "store", "permissions", "conditions", "clock", "index",
        "file system", "space", "privacy",
    }  # fmt: skip


def test_nothing_is_left_behind(place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    look(Local(place / "store"), place)
    after = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    shared = [path for path in after if "sqlite-" not in path.name]
    assert {path: after[path] for path in shared} == before


def test_no_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    what = named(look(Local(tmp_path / "no"), tmp_path), "store", Severity.OK)
    assert "no store yet" in what
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_can_be_made_is_no_trouble(tmp_path: Path) -> None:
    checks = look(Local(tmp_path / "project" / ".metaflow" / "memoflow"), tmp_path)
    assert {check.verdict for check in checks} <= {Severity.OK, Severity.WARN}
    assert "the first save creates" in named(checks, "permissions", Severity.OK)


def test_a_store_that_cannot_be_made_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    checks = look(Local(tmp_path / "file" / "memoflow"), tmp_path)
    assert "is not a directory" in named(checks, "permissions", Severity.FAIL)


def test_a_store_that_may_not_be_made_is_trouble() -> None:
    def act() -> None:
        checks = look(Local(Path("/memoflow-of-nobody")), Path("/tmp"))
        assert "/ is not writable" in named(checks, "permissions", Severity.FAIL)

    as_nobody(act)


def test_a_store_where_nothing_may_be_looked_at_is_trouble(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    def act() -> None:
        checks = look(Local(tmp_path / "in" / "memoflow"), Path("/tmp"))
        assert "Permission denied" in named(checks, "store", Severity.FAIL)

    as_nobody(act)


@pytest.mark.parametrize(
    ("way", "verdict", "what"),
    [
        (exclusive.by_link, Severity.OK, "by hard links"),
        (exclusive.by_rename, Severity.OK, "by exclusive renames"),
        (exclusive.by_lock, Severity.OK, "by a lock"),
        (exclusive.by_look, Severity.FAIL, "may be lost"),
    ],
)
def test_it_says_what_keeps_names_from_being_overwritten(
    way: exclusive.Way, verdict: Severity, what: str
) -> None:
    check = of_way(way)
    assert check.verdict is verdict
    assert what in check.what


def test_a_setting_that_is_none_is_named_with_the_one_that_was_meant() -> None:
    (check,) = of_settings({"METAFLOW_MEMOFLOW_MAXSIZE": "1GB"})
    assert (check.verdict, check.advice) == (Severity.WARN, "use METAFLOW_MEMOFLOW_MAX_SIZE")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACHE_SIZE", "much"),
        ("MAX_SIZE", "-1"),
        ("MAX_SIZE", "50"),
        ("CACHE_SIZE", "0"),
        ("MODE", "sometimes"),
        ("INSTALL", "maybe"),
        ("SIGNING_KEY", "short"),
        ("SIGNING_KEY", "@/nowhere/at/all"),
    ],
)
def test_a_setting_that_cannot_be_read_is_trouble(name: str, value: str) -> None:
    (check,) = of_settings({f"METAFLOW_MEMOFLOW_{name}": value})
    assert check.verdict is Severity.FAIL
    assert name in check.what
    assert name in check.advice


def test_a_key_is_not_shown() -> None:
    checks = list(of_settings({"METAFLOW_MEMOFLOW_SIGNING_KEY": "0123456789abcdef-key"}))
    assert "0123456789abcdef" not in str(checks)
    assert "SIGNING_KEY" in named(checks, "settings", Severity.OK)


def test_each_setting_is_known_that_there_is() -> None:
    root = Path(doctor.__file__).parents[2]
    texts = [path.read_text() for path in (root / "metaflow_extensions").rglob("mfextinit*.py")]
    read = {word for text in texts for word in text.split('"') if word.startswith("MEMOFLOW_")}
    assert {f"METAFLOW_{name}" for name in read} <= doctor.SETTINGS.keys()


def test_the_versions_in_use_are_named() -> None:
    mine = {"metaflow-memoflow": "0.1.0", "metaflow": "2.19.30"}
    assert "memoflow 0.1.0, Metaflow 2.19.30" in named(of_versions(mine), "versions", Severity.OK)


def test_metaflow_checkpoint_beside_is_a_warning() -> None:
    versions = {"metaflow-memoflow": "0.1", "metaflow": "2.19.30", "metaflow-checkpoint": "0.2"}
    assert "is installed too" in named(of_versions(versions), "versions", Severity.WARN)


@pytest.mark.parametrize(
    ("metaflow", "verdict"),
    [("2.18.12", Severity.FAIL), ("2.19.22", Severity.FAIL), (None, Severity.WARN)],
)
def test_a_metaflow_that_will_not_do_is_told(metaflow: str | None, verdict: Severity) -> None:
    assert "Metaflow" in named(of_versions({"metaflow": metaflow}), "versions", verdict)


def test_two_packages_of_metaflow_are_trouble() -> None:
    versions = {"metaflow": "2.19.30", "ob-metaflow": "2.19.28.1"}
    assert "same files" in named(of_versions(versions), "versions", Severity.FAIL)


def test_the_metaflow_of_the_platform_alone_will_do() -> None:
    checks = list(of_versions({"ob-metaflow": "2.19.28.1"}))
    assert {check.verdict for check in checks} == {Severity.OK}


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_that_is_off_is_told_by_how_much_and_which_way(place: Path, days: int) -> None:
    backend = Memory(clock=time.time)
    checks = look(backend, place, clock=lambda: time.time() + days * 86400)
    what = named(checks, "clock", Severity.WARN)
    assert "72.0 h" in what
    assert ("ahead of" if days > 0 else "behind") in what


def test_a_store_that_cannot_be_written_is_trouble_said_once(place: Path) -> None:
    class ReadOnly(Faulty):
        def write(self, *args: Any, **kwargs: Any) -> bool:
            raise BackendDeniedError("may not")

    checks = look(ReadOnly(Local(place / "store")), place)
    assert "cannot be written" in named(checks, "permissions", Severity.FAIL)


def test_a_store_that_cannot_be_deleted_from_is_trouble(place: Path) -> None:
    class Keeping(Faulty):
        def delete(self, names: Any) -> None:
            raise BackendDeniedError("may not")

    checks = look(Keeping(Memory()), place)
    assert "cannot be deleted" in named(checks, "permissions", Severity.FAIL)


def test_a_store_that_cannot_be_reached_is_trouble(place: Path) -> None:
    class Away(Faulty):
        def read(self, name: str, **options: int) -> bytes | None:
            raise BackendDeniedError("no such bucket")

    assert "no such bucket" in named(look(Away(Memory()), place), "store", Severity.FAIL)


class Overwriting(Faulty):
    """A server that ignores conditions."""

    def write(self, name: str, data: bytes, **kwargs: Any) -> bool:
        return self.backend.write(name, data)


def test_a_server_that_ignores_conditions_is_a_warning_if_the_store_knows(place: Path) -> None:
    backend = Overwriting(Memory(), takes_round_trips=True)
    open_store(backend, cache_dir=place / "other")
    assert "no result is wrong" in named(look(backend, place), "conditions", Severity.WARN)


def test_a_server_that_ignores_conditions_is_trouble_if_the_store_does_not(place: Path) -> None:
    memory = Memory()
    open_store(Faulty(memory, takes_round_trips=True), cache_dir=place / "other")
    checks = look(Overwriting(memory, takes_round_trips=True), place)
    assert "format.json" in named(checks, "conditions", Severity.FAIL)


def test_a_server_that_has_learned_conditions_is_told(place: Path) -> None:
    memory = Memory()
    open_store(Overwriting(memory, takes_round_trips=True), cache_dir=place / "other")
    assert "conditional writes work, and" in named(look(memory, place), "conditions", Severity.WARN)


def test_a_backend_made_to_look_before_it_writes_honours_conditions(place: Path) -> None:
    backend = Unconditional(Overwriting(Memory(), takes_round_trips=True))
    assert named(look(backend, place), "conditions", Severity.OK) == "conditional writes work"


def test_a_damaged_format_is_trouble(place: Path) -> None:
    Local(place / "store").write("format.json", b"{")
    what = named(look(Local(place / "store"), place), "store", Severity.FAIL)
    assert "damaged" in what


def test_a_newer_format_is_trouble(place: Path) -> None:
    Local(place / "store").write("format.json", b'{"format":99,"id":"x"}')
    what = named(look(Local(place / "store"), place), "store", Severity.FAIL)
    assert "format 99" in what


def test_what_is_in_quarantine_is_told(place: Path) -> None:
    Local(place / "store").write("quarantine/blobs/ab/ab", b"damaged")
    what = named(look(Local(place / "store"), place), "quarantine", Severity.WARN)
    assert "1 damaged" in what


def test_a_damaged_index_is_told(place: Path) -> None:
    (path,) = (place / "cache" / "memoflow").glob("*.sqlite")
    path.write_bytes(b"\xa5" * 9000)
    assert "unusable" in named(look(Local(place / "store"), place), "index", Severity.WARN)


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [(0o777, Severity.FAIL), (0o755, Severity.WARN), (0o2770, Severity.WARN)],
)
def test_who_else_can_look_into_a_store_is_told(place: Path, mode: int, verdict: Severity) -> None:
    (place / "store").chmod(mode)
    assert str(place / "store") in named(look(Local(place / "store"), place), "privacy", verdict)


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_file_of_keys_that_others_can_read_is_told(place: Path, mode: int, told: bool) -> None:
    keys = place / "keys"
    keys.write_text("0123456789abcdef")
    keys.chmod(mode)
    settings = {"METAFLOW_MEMOFLOW_SIGNING_KEY": f"@{keys}"}
    checks = examine(Local(place / "store"), settings=settings, cache=place / "cache" / "memoflow")
    warned = [check for check in checks if check.name == "settings" and check.advice]
    assert [str(keys) in check.what for check in warned] == [True] * told


def test_a_cache_that_cannot_be_written_is_told(place: Path) -> None:
    file = place / "file"
    file.write_bytes(b"")
    checks = examine(Local(place / "store"), settings={}, cache=file / "memoflow")
    assert "CACHE_DIR" in next(
        check.advice for check in checks if check.name == "permissions" and check.advice
    )


def test_somebody_who_may_only_read_is_told_so_and_leaves_nothing(place: Path) -> None:
    for path in (*place.parents, place, *place.rglob("*")):
        if path.is_dir() and path.owner() == Path.home().owner() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o555)

    def child() -> None:
        checks = look(Local(place / "store"), place)
        assert [check.name for check in checks if check.verdict is Severity.FAIL] == ["permissions"]

    as_nobody(child)
