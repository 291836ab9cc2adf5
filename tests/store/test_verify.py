"""verify finds every seeded fault, mends what can be mended, and nothing wrong is handed out."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.backends import Backend, Local, Memory, Tiered
from memoflow.errors import FormatError, IntegrityError, MemoflowError
from memoflow.names import Digest, Key, Ref
from memoflow.objects import blob_name
from memoflow.store import Adoption, Payload, Store, open_store
from memoflow.store.check.verification import Problem
from memoflow.store.deletion_log import Deleting
from memoflow.store.refs.ref_file import decode
from memoflow.store.saves.upload_heartbeat import UploadHeartbeat
from tests.faults import Faulty
from tests.s3 import Server
from tests.store.conftest import contents

SMALL, PACKED, WHOLE, MANY, MEMO = (
    Key.of("model", name) for name in ("small", "packed", "whole", "many", "memo")
)
FILES: dict[Key, dict[str, bytes]] = {
    SMALL: {"a": b"small"},
    PACKED: {"a": bytes(range(256)) * 40, "b": b"b" * 5000},
    WHOLE: {"weights": os.urandom(2 << 20)},
    MANY: {str(n): b"%03d" % n * 300 for n in range(100)},
    MEMO: {},
}
MARKS = ["deletions", "condemned", "dropped", "doomed", "saving"]


@dataclass
class World:
    """A store with something of each kind in it, and a clock that can be put forward."""

    store: Store
    far: Backend
    open_anew: Callable[[], Store]
    ahead: list[float]
    refs: dict[Key, Ref]
    artifact: Digest

    @property
    def is_local(self) -> bool:
        return not isinstance(self.store.backend, Tiered)

    @property
    def near(self) -> Local:
        assert isinstance(self.store.backend, Tiered)
        return self.store.backend.near

    def blob(self, key: Key) -> str:
        """The blob that the first large file of a key lies in."""
        (found, *_) = [f for f in self.store.manifest(self.refs[key]).files if f.pieces]
        return blob_name(found.pieces[0].blob)

    def manifest_blob(self, key: Key) -> str:
        data = self.far.read(f"refs/{key}")
        assert data is not None
        blob = decode(key, data).manifest_blob
        assert blob is not None
        return blob_name(blob)

    def flip(self, name: str, *, where: Backend | None = None, at: float = 0.5) -> None:
        """Change one bit of what is stored, as a disk might."""
        backend = where or self.far
        data = bytearray(backend.read(name) or b"")
        data[int(len(data) * at)] ^= 4
        backend.write(name, bytes(data))

    def cut(self, name: str) -> None:
        data = self.far.read(name) or b""
        self.far.write(name, data[: len(data) // 2])

    def wait(self, days: float) -> None:
        self.ahead[0] += days * 86400

    def wrong_data_handed_out(self, out: Path) -> int:
        """Load all that any of two machines finds; count what is not what was saved."""
        wrong = 0
        for number, store in enumerate((self.store, self.open_anew())):
            for key, files in FILES.items():
                folder = out / f"{number}-{'-'.join(key.parts)}"
                try:
                    ref = store.find(key)
                    if ref is None:
                        continue
                    wrong += contents(store.load(ref, folder)) != files
                except MemoflowError:
                    wrong += folder.exists()
        return wrong


@pytest.fixture(params=["local", "elsewhere"])
def world(
    request: pytest.FixtureRequest, tmp_path: Path, artifact: Callable[..., Adoption]
) -> World:
    return make(request.param, tmp_path, artifact)


def make(kind: str, tmp_path: Path, artifact: Callable[..., Adoption]) -> World:
    ahead, count = [0.0], iter(range(1000))

    def clock() -> float:
        return time.time() + ahead[0]

    memory = Memory(clock=clock)
    far: Backend = Local(tmp_path / "store") if kind == "local" else memory

    def open_anew() -> Store:
        backend = far if kind == "local" else Faulty(far, takes_round_trips=True)
        return open_store(backend, cache_dir=tmp_path / f"cache-{next(count)}", clock=clock)

    store = open_anew()
    adoption = artifact(b"content" * 100_000)
    refs = {
        key: store.save(
            key,
            Payload(
                files=files,
                whole=key is WHOLE,
                adopted={"x": adoption} if key is MEMO else {},
            ),
            durable=False,
        )
        for key, files in FILES.items()
    }
    with Deleting(store.backend, []):
        pass
    return World(store, far, open_anew, ahead, refs, adoption.digest)


def cached(world: World) -> None:
    """Let this machine have copies of all blobs."""
    world.store.backend.prefetch([found.name for found in world.far.list("blobs")])


def mark(world: World, kind: str) -> str:
    """Leave what killed saves and sweeps leave; return its name."""
    backend = world.store.backend
    if kind == "saving":
        UploadHeartbeat(backend, clock=time.time).mark()
        return next(found.name for found in world.far.list("gc/saving"))
    if kind == "doomed":
        Deleting(backend, ["blobs/ab/ab"]).__enter__()
        return next(found.name for found in world.far.list("gc/deleting"))
    if kind == "condemned":
        world.store.save(Key.of("model", "lost"), Payload(files={"x": os.urandom(9000)}))
        world.store.forget(Key.of("model", "lost"))
        assert world.store.sweep(keep_newer=timedelta(0)).pending == 1
        return "gc/condemned"
    if kind == "dropped":
        backend.write("gc/dropped/" + "0" * 64, b"\x40")
        return "gc/dropped/" + "0" * 64
    return "gc/deletions"


def old_index(world: World, sql: str) -> None:
    world.store.close()
    path = world.store.index.path
    assert path is not None
    with sqlite3.connect(path) as db:
        db.execute(sql)
    db.close()


# What is seeded, and the keys that it hurts.
DAMAGE: dict[str, tuple[Callable[[World], object], set[Key]]] = {
    "bit in a ref": (lambda w: w.flip(f"refs/{PACKED}"), {PACKED}),
    "bit in an inline manifest": (lambda w: w.flip(f"refs/{SMALL}", at=0.6), {SMALL}),
    "bit in a ref's seal": (lambda w: w.flip(f"refs/{SMALL}", at=0.95), {SMALL}),
    "bit in a manifest's blob": (lambda w: w.flip(w.manifest_blob(MANY)), {MANY}),
    "bit in a pack": (lambda w: w.flip(w.blob(PACKED)), {PACKED}),
    "bit in a whole blob": (lambda w: w.flip(w.blob(WHOLE)), {WHOLE}),
    "bit in an adopted blob": (lambda w: w.flip(blob_name(w.artifact)), {MEMO}),
    "truncated ref": (lambda w: w.cut(f"refs/{PACKED}"), {PACKED}),
    "truncated manifest": (lambda w: w.cut(w.manifest_blob(MANY)), {MANY}),
    "truncated pack": (lambda w: w.cut(w.blob(PACKED)), {PACKED}),
    "truncated whole blob": (lambda w: w.cut(w.blob(WHOLE)), {WHOLE}),
    "truncated adopted blob": (lambda w: w.cut(blob_name(w.artifact)), {MEMO}),
    "empty blob": (lambda w: w.far.write(w.blob(PACKED), b""), {PACKED}),
    "missing manifest": (lambda w: w.far.delete([w.manifest_blob(MANY)]), {MANY}),
    "missing pack": (lambda w: w.far.delete([w.blob(PACKED)]), {PACKED}),
    "missing whole blob": (lambda w: w.far.delete([w.blob(WHOLE)]), {WHOLE}),
    "missing adopted blob": (lambda w: w.far.delete([blob_name(w.artifact)]), {MEMO}),
    "ref of another key": (
        lambda w: w.far.write(f"refs/{SMALL}", w.far.read(f"refs/{PACKED}") or b""),
        {SMALL},
    ),
    "blob of other bytes": (
        lambda w: w.far.write(w.blob(PACKED), w.far.read(w.blob(WHOLE)) or b""),
        {PACKED},
    ),
    "all blobs gone": (
        lambda w: w.far.delete([found.name for found in w.far.list("blobs")]),
        {PACKED, WHOLE, MANY, MEMO},
    ),
}
BLOBS = [name for name in DAMAGE if "ref" not in name and "inline" not in name]


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_with_the_keys_that_it_hurts(
    world: World, name: str, tmp_path: Path
) -> None:
    seed, hurt = DAMAGE[name]
    seed(world)
    problems = world.store.verify()
    assert {problem.key for problem in problems if not problem.harmless} - {None} == hurt
    assert world.wrong_data_handed_out(tmp_path / "out") == 0


@pytest.mark.parametrize("name", DAMAGE)
def test_after_a_repair_nothing_is_wrong_and_nothing_wrong_handed_out(
    world: World, name: str, tmp_path: Path
) -> None:
    seed, hurt = DAMAGE[name]
    seed(world)
    assert all(problem.done for problem in world.store.verify(repair=True))
    assert world.store.verify() == []
    assert world.wrong_data_handed_out(tmp_path / "out") == 0
    assert {key for key in FILES if world.store.find(key) is None} <= hurt


@pytest.mark.parametrize("name", [name for name in DAMAGE if "bit" in name or "trunc" in name])
def test_what_is_damaged_is_kept_in_quarantine(world: World, name: str) -> None:
    DAMAGE[name][0](world)
    world.store.verify(repair=True)
    assert len(world.store.quarantined()) == 1 + ("adopted" in name and False)


@pytest.fixture
def elsewhere(tmp_path: Path, artifact: Callable[..., Adoption]) -> World:
    world = make("elsewhere", tmp_path, artifact)
    cached(world)
    return world


@pytest.mark.parametrize("name", BLOBS)
def test_the_far_end_is_verified_though_the_copies_here_are_whole(
    elsewhere: World, name: str
) -> None:
    seed, hurt = DAMAGE[name]
    seed(elsewhere)
    problems = elsewhere.store.verify()
    assert {problem.key for problem in problems} - {None} == hurt


@pytest.mark.parametrize("name", BLOBS)
def test_a_blob_is_mended_from_the_copy_of_this_machine(
    elsewhere: World, name: str, tmp_path: Path
) -> None:
    seed, _ = DAMAGE[name]
    seed(elsewhere)
    problems = elsewhere.store.verify(repair=True)
    assert {problem.done for problem in problems} == {"written again from this machine's copy"}
    assert elsewhere.store.verify() == []
    fresh = elsewhere.open_anew()
    assert {key: fresh.find(key) for key in FILES} == elsewhere.refs
    assert elsewhere.wrong_data_handed_out(tmp_path / "out") == 0


COPIES: dict[str, Callable[[World], str]] = {
    "pack": lambda w: w.blob(PACKED),
    "whole blob": lambda w: w.blob(WHOLE),
    "manifest": lambda w: w.manifest_blob(MANY),
    "adopted blob": lambda w: blob_name(w.artifact),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("at", [0.0, 0.5])
def test_a_damaged_copy_on_this_machine_is_found_and_fetched_again(
    elsewhere: World, name: str, at: float, tmp_path: Path
) -> None:
    blob = COPIES[name](elsewhere)
    elsewhere.flip(blob, where=elsewhere.near, at=at)
    (problem,) = elsewhere.store.verify()
    assert problem.name == blob
    assert "this machine's copy" in problem.what
    assert elsewhere.wrong_data_handed_out(tmp_path / "out") == 0
    cached(elsewhere)
    elsewhere.flip(blob, where=elsewhere.near, at=at)
    elsewhere.store.verify(repair=True)
    assert elsewhere.store.verify() == []
    assert {key: elsewhere.store.find(key) for key in FILES} == elsewhere.refs


def test_a_blob_damaged_in_both_places_is_quarantined(elsewhere: World, tmp_path: Path) -> None:
    blob = elsewhere.blob(PACKED)
    elsewhere.flip(blob)
    elsewhere.flip(blob, where=elsewhere.near)
    elsewhere.store.verify(repair=True)
    assert elsewhere.store.verify() == []
    assert elsewhere.store.find(PACKED) is None
    assert elsewhere.wrong_data_handed_out(tmp_path / "out") == 0


@pytest.mark.parametrize("kind", MARKS)
def test_a_flipped_bit_in_a_mark_is_found_and_harmless(
    world: World, kind: str, tmp_path: Path
) -> None:
    name = mark(world, kind)
    assert kind == "dropped" or world.store.verify() == []
    world.flip(name)
    (problem,) = world.store.verify()
    assert (problem.name, problem.harmless) == (name, True)
    world.store.verify(repair=True)
    assert world.store.verify() == []
    assert {key: world.store.find(key) for key in FILES} == world.refs
    assert world.wrong_data_handed_out(tmp_path / "out") == 0


@pytest.mark.parametrize("kind", ["saving", "doomed"])
def test_the_mark_of_what_was_killed_is_found_and_removed(world: World, kind: str) -> None:
    name = mark(world, kind)
    assert world.store.verify() == []
    age(world, 8)
    (problem,) = world.store.verify()
    assert (problem.name, problem.harmless) == (name, True)
    if not world.is_local:
        world.store.verify(repair=True)
        assert world.store.verify() == []


def age(world: World, days: float) -> None:
    """Let time pass, as far as this machine's clock says; a file system's cannot be moved."""
    world.wait(days)


def test_a_flipped_bit_in_format_json_is_found_and_mended(world: World) -> None:
    for at in (0.0, 0.3, 0.5, 0.9):
        world.flip("format.json", at=at)
        (problem,) = world.store.verify()
        assert problem.name == "format.json"
        world.store.verify(repair=True)
        assert world.store.verify() == []
        assert world.open_anew().id == world.store.id


def test_a_store_with_a_damaged_format_json_is_not_taken_for_another(world: World) -> None:
    data = world.far.read("format.json") or b""
    for bit in range(0, len(data) * 8, 5):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        world.far.write("format.json", bytes(changed))
        with suppress(IntegrityError, FormatError):  # Its version may read as a later one.
            assert world.open_anew().id == world.store.id


def test_a_missing_format_json_is_found_and_written_again(world: World) -> None:
    world.far.delete(["format.json"])
    (problem,) = world.store.verify(repair=True)
    assert problem.name == "format.json"
    assert world.open_anew().id == world.store.id


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.99])
def test_a_flipped_bit_in_a_bundle_is_found_and_harmless(elsewhere: World, at: float) -> None:
    for n in range(40):
        elsewhere.store.save(Key.of("note", str(n)), Payload(), durable=False)
    elsewhere.open_anew().remembered.prefetch(Key.of("note"))
    (bundle,) = [found.name for found in elsewhere.far.list("bundles")]
    elsewhere.flip(bundle, at=at)
    (problem,) = elsewhere.store.verify()
    assert (problem.name, problem.harmless) == (bundle, True)
    assert len(elsewhere.open_anew().remembered.prefetch(Key.of("note"))) == 40
    elsewhere.store.verify(repair=True)
    assert elsewhere.store.verify() == []


INDEX: dict[str, tuple[str, set[Key]]] = {
    "knows what is not there": (
        "UPDATE entries SET key = 'model/gone' WHERE key = 'model/small'",
        {Key.of("model", "gone")},
    ),
    "knows another digest": (
        "UPDATE entries SET digest = zeroblob(32) WHERE key = 'model/small'",
        {SMALL},
    ),
    "knows another size": ("UPDATE entries SET size = 4711 WHERE key = 'model/small'", {SMALL}),
    "knows another time": ("UPDATE entries SET created = 1 WHERE key = 'model/small'", {SMALL}),
    "knows no end": ("UPDATE entries SET expires = 1 WHERE key = 'model/small'", {SMALL}),
}


@pytest.mark.parametrize("name", INDEX)
def test_a_stale_index_is_found_and_forgotten(world: World, name: str, tmp_path: Path) -> None:
    sql, keys = INDEX[name]
    old_index(world, sql)
    problems = world.store.verify()
    assert {problem.key for problem in problems} == keys
    assert all(problem.harmless for problem in problems)
    world.store.verify(repair=True)
    assert world.store.verify() == []
    assert {key: world.store.find(key) for key in FILES} == world.refs
    assert world.wrong_data_handed_out(tmp_path / "out") == 0


@pytest.mark.parametrize("where", [0, 100, 4096])
def test_a_damaged_index_file_is_found_and_made_anew(
    world: World, where: int, tmp_path: Path
) -> None:
    world.store.close()
    path = world.store.index.path
    assert path is not None
    data = bytearray(path.read_bytes())
    data[where : where + 200] = b"\xa5" * 200
    path.write_bytes(data)
    problems = world.store.verify()
    assert problems
    assert all(problem.harmless and problem.name == str(path) for problem in problems)
    world.store.verify(repair=True)
    assert world.store.verify() == []
    assert {key: world.store.find(key) for key in FILES} == world.refs
    assert world.wrong_data_handed_out(tmp_path / "out") == 0


def test_unfinished_files_of_killed_saves_are_found_once_they_are_old(
    tmp_path: Path, artifact: Callable[..., Adoption]
) -> None:
    world = make("local", tmp_path, artifact)
    litter = tmp_path / "store" / "blobs" / ".tmp-killed"
    litter.write_bytes(b"half")
    assert world.store.verify() == []
    world.wait(1.1)
    (problem,) = world.store.verify()
    assert problem.harmless
    assert litter.exists()


def test_unfinished_uploads_of_killed_saves_are_found_and_removed(
    s3_server: Server, tmp_path: Path
) -> None:
    backend = s3_server.backend()  # Which says of every upload that it began in 2010.
    store = open_store(backend, cache_dir=tmp_path)
    backend.client.create_multipart_upload(Bucket=backend.bucket, Key=f"{backend.prefix}blobs/x")
    (problem,) = store.verify()
    assert (problem.harmless, "1 unfinished" in problem.what) == (True, True)
    assert len(store.verify(repair=True)) == 1
    assert store.verify() == []


def test_what_is_in_quarantine_is_listed_and_no_problem(world: World) -> None:
    world.flip(world.blob(PACKED))
    name = world.blob(PACKED)
    world.store.verify(repair=True)
    assert [found.name for found in world.store.quarantined()] == [f"quarantine/{name}"]
    assert world.store.verify() == []


def test_without_a_repair_verify_changes_nothing(world: World) -> None:
    world.flip(world.blob(PACKED))
    world.far.delete([world.blob(WHOLE)])
    before = {found.name: world.far.read(found.name) for found in world.far.list("")}
    world.store.verify()
    assert {found.name: world.far.read(found.name) for found in world.far.list("")} == before


def test_a_problem_says_what_was_done_only_after_a_repair(world: World) -> None:
    world.flip(world.blob(PACKED))
    (problem,) = world.store.verify()
    assert problem.done == ""
    (repaired,) = world.store.verify(repair=True)
    assert repaired == replace(problem, done="quarantined; forgotten")


def test_problems_compare_as_what_they_say() -> None:
    assert Problem("a", "is gone", None) == Problem("a", "is gone", None)
