"""What a snapshot's key is made of, who finds it, and the proof of each file."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest

from memoflow.errors import IntegrityError, UsageError
from memoflow.kinds import hub, hub_files, retention
from memoflow.kinds.about import About
from memoflow.kinds.hub import Resolved, Scope, Wanted
from memoflow.kinds.hub_files import Announced
from memoflow.names import Digest, Key
from memoflow.store import Payload, Store, open_store

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40
HOST = "huggingface.co"
FLOW = Scope(("flow", "Train"), "alice")
GLOBAL = Scope(("global",), "alice")
MINE = Scope(("checkpoint", "Train", "start", "3a12c0aa5bf7", "a92ae9615600"), "alice")
WANTED = Wanted.of("org/name")
GREETING = b"hello\n"
# As `git hash-object` and `sha256sum` print them for that.
GREETING_GIT = "git:ce013625030ba8dba906f756967f9e9ca394464a"
GREETING_SHA256 = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def key(wanted: Wanted = WANTED, scope: Scope = MINE, commit: str = COMMIT) -> Key:
    return hub.key(scope.of(restricted=False), wanted, commit)


def about(wanted: Wanted = WANTED) -> About:
    return About(
        kind="hub",
        task="Train/1/start/1",
        attempt=0,
        repo_id=wanted.repo_id,
        repo_type=wanted.repo_type,
        revision=wanted.revision,
        commit=COMMIT,
        allow=wanted.allow,
        ignore=wanted.ignore,
    )


@pytest.mark.parametrize(
    "other",
    [
        Wanted.of("org/other"),
        Wanted.of("org/name", repo_type="dataset"),
        Wanted.of("org/name", allow_patterns="*.json"),
        Wanted.of("org/name", ignore_patterns="*.json"),
        Wanted.of("org/name", allow_patterns=[]),
        Wanted.of("org/name", allow_patterns=["*.json"], ignore_patterns=["a*"]),
    ],
)
def test_what_is_asked_for_is_in_the_key(other):  # bug 3
    assert key(other) != key()


def test_what_is_allowed_and_what_is_ignored_are_two_things():  # bug 3
    allowed = Wanted.of("org/name", allow_patterns="*.json")
    assert key(allowed) != key(Wanted.of("org/name", ignore_patterns="*.json"))


def test_the_commit_is_in_the_key_and_the_branch_is_not():
    assert key(Wanted.of("org/name", revision="v1")) == key()
    assert key(commit=OTHER) != key()


def test_patterns_are_the_same_in_any_order_and_as_a_single_text():
    one = Wanted.of("org/name", allow_patterns=["*.json", "*.txt"])
    assert key(one) == key(Wanted.of("org/name", allow_patterns=("*.txt", "*.json")))
    assert key(Wanted.of("org/name", allow_patterns="*.txt")) == key(
        Wanted.of("org/name", allow_patterns=["*.txt"])
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"repo_id": None}, "repo_id"),
        ({"repo_id": "../../org/name"}, "repo_id"),
        ({"repo_id": "org/na me"}, "repo_id"),
        ({"repo_id": "a/b", "repo_type": "kernel"}, "model, dataset, space"),
        ({"repo_id": "a/b", "revision": 7}, "branch, tag or commit"),
        ({"repo_id": "a/b", "allow_patterns": [1]}, "allow_patterns"),
        ({"repo_id": "a/b", "ignore_patterns": 5}, "ignore_patterns"),
    ],
)
def test_what_cannot_be_asked_for_is_an_error(arguments, told):
    with pytest.raises(UsageError, match=told):
        Wanted.of(**arguments)


@pytest.mark.parametrize("scope", [MINE, FLOW])
def test_what_not_everybody_may_see_is_kept_for_its_user(scope):
    alices = scope.of(restricted=True)
    bobs = Scope(scope.parts, "bob")
    assert alices not in bobs.readable()
    assert scope.of(restricted=False) in bobs.readable()
    assert alices in scope.readable()


def test_in_the_global_scope_everybody_finds_everything():
    assert GLOBAL.of(restricted=True) == GLOBAL.of(restricted=False)


@pytest.mark.parametrize("scope", [MINE, FLOW, GLOBAL])
@pytest.mark.parametrize("restricted", [False, True])
def test_a_key_is_known_for_a_snapshots(scope, restricted):
    made = hub.key(scope.of(restricted=restricted), WANTED, COMMIT)
    assert hub.is_snapshot(Key.parse(str(made)))


@pytest.mark.parametrize(
    "other",
    [
        hub.revision_key(WANTED, HOST, "Train", "1"),
        hub.first_key(WANTED, HOST, "Train", "flow"),
        Key.of("hub", "stood", "model", "org/name", "main", HOST, f"{5:015d}-{COMMIT}"),
        Key.of("hub", "global", "model", "org/name", COMMIT),
        Key.of("model", "global", "model", "org/name", COMMIT, "0"),
        Key.of("hub", "elsewhere", "model", "org/name", COMMIT, "0"),
    ],
)
def test_other_keys_are_not(other):
    assert not hub.is_snapshot(other)


def test_a_snapshot_is_found_as_it_was_saved(store):
    wanted = Wanted.of("org/name", revision="v1", allow_patterns=["*.json"])
    saved = hub.save(store, key(wanted), {"a.json": b"{}"}, about(wanted))
    found = hub.find(store, key(wanted))
    assert found == saved
    assert found.about.allow == ("*.json",)
    assert found.about.ignore is None


def test_a_file_of_a_megabyte_is_a_blob_by_itself(store, tmp_path):
    data = b"\1" * (1 << 20)
    (tmp_path / "weights").write_bytes(data)
    hub.save(store, key(), {"weights": tmp_path / "weights"}, about())
    digest = hashlib.sha256(data).hexdigest()
    assert (tmp_path / "store" / "blobs" / digest[:2] / digest).read_bytes() == data


def test_of_many_tasks_that_ask_at_once_all_go_by_one_commit(store):
    asked = [Resolved(f"{number:040x}", 1.0) for number in range(8)]
    got = []

    def record(one: Resolved) -> None:
        place = hub.revision_key(WANTED, HOST, "Train", "1")
        got.append(hub.record_resolved(store, place, one))

    threads = [threading.Thread(target=record, args=(one,)) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1
    assert len(got) == 8


def test_what_a_revision_stood_for_is_known_by_the_last_time_of_each_answer(store):
    assert hub.stood(store, WANTED, HOST) == []
    for asked, commit in ((5.0, COMMIT), (6.0, OTHER), (7.0, COMMIT)):
        hub.note_stood(store, WANTED, HOST, Resolved(commit, asked))
    found = hub.stood(store, WANTED, HOST)
    assert found == [Resolved(COMMIT, 7.0), Resolved(OTHER, 6.0)]
    assert hub.stood(store, Wanted.of("org/name", revision="v1"), HOST) == []
    assert hub.stood(store, WANTED, "hub.example") == []


def test_of_the_same_answers_the_last_is_kept(store):
    for asked in range(9):
        hub.note_stood(store, WANTED, HOST, Resolved(COMMIT, float(asked)))
    assert len(store.keys(Key.of("hub", "stood"))) == 1


def test_what_a_revision_stood_for_is_not_evicted_while_there_is_a_snapshot_of_it(store):
    hub.save(store, key(), {"greeting": GREETING}, about())
    for asked, commit in ((5.0, OTHER), (6.0, COMMIT)):
        hub.note_stood(store, WANTED, HOST, Resolved(commit, asked))
    in_years = time.time() + 3 * 365 * 86400
    store.evict(now=in_years, keep=retention.protected(store))
    assert hub.stood(store, WANTED, HOST) == [Resolved(COMMIT, 6.0)]


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://huggingface.co/", "huggingface.co"),
        ("https://me:secret@hub.example:8080/hf/", "hub.example:8080/hf"),
        ("hub.example", "hub.example"),
    ],
)
def test_a_hub_is_known_by_its_host_without_a_login(endpoint, host):
    assert hub.host_of(endpoint) == host


def test_a_generator_of_patterns_is_read_once():
    wanted = Wanted.of("org/name", allow_patterns=(name for name in ("*.json", "*.txt")))
    assert wanted.allow == ("*.json", "*.txt")


def test_no_error_shows_what_was_given_in_place_of_a_name():
    with pytest.raises(UsageError) as error:
        Wanted.of({"repo_id": "org/name", "token": "hf_secret"})
    assert "hf_secret" not in str(error.value)


@pytest.mark.parametrize("digest", [GREETING_GIT, GREETING_SHA256])
@pytest.mark.parametrize("in_file", [False, True])
def test_a_file_is_proven_by_what_the_hub_announces(digest, in_file, tmp_path):
    content = tmp_path / "greeting"
    content.write_bytes(GREETING)
    announced = Announced("greeting", 6, digest)
    assert hub_files.is_proven(announced, content if in_file else GREETING)
    assert not hub_files.is_proven(announced, b"Hello\n")
    assert not hub_files.is_proven(Announced("greeting", 7, digest), GREETING)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "x\0y", ".", r"..\..\x"]
)
def test_a_path_that_leaves_its_directory_is_an_error(path):
    with pytest.raises(IntegrityError, match="org/name"):
        hub_files.check_paths("model org/name", [Announced(path, 6, GREETING_GIT)])


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(b"\2" * (1 << 20))
    return path


def sha256(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_are_known_by_their_digests_wherever_they_lie(store, large, tmp_path):
    files = [Announced("a/greeting", 6, GREETING_GIT), Announced("large", 1 << 20, sha256(large))]
    contents = {"a/greeting": GREETING, "large": large}
    hub_files.remember(store, hub.save(store, key(), contents, about()), files)

    asked = [Announced("b", 6, GREETING_GIT), Announced("c", 1 << 20, sha256(large))]
    found = hub_files.recall(store, [*asked, Announced("d", 6, GREETING_SHA256)])
    assert found.keys() == {"b", "c"}
    other = hub.save(store, key(commit=OTHER), {}, about(), kept=found.values())
    assert other.ref.new_bytes == 0
    into = store.load(other.ref, tmp_path / "out")
    assert (into / "b").read_bytes() == GREETING
    assert (into / "c").read_bytes() == large.read_bytes()


def test_what_was_quarantined_is_no_longer_known(store, large):
    files = [Announced("large", 1 << 20, sha256(large))]
    hub_files.remember(store, hub.save(store, key(), {"large": large}, about()), files)
    store.quarantine(Digest(sha256(large)))
    assert hub_files.recall(store, files) == {}
    assert hub_files.named(store, files) == {}


@pytest.mark.parametrize("is_large", [True, False])
def test_what_was_truncated_is_no_longer_known_and_is_healed(store, large, tmp_path, is_large):
    data = large.read_bytes() if is_large else b"\3" * 5000
    content = large if is_large else data  # By itself, or in a pack with others.
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    files = [Announced("file", len(data), digest)]
    hub_files.remember(store, hub.save(store, key(), {"file": content}, about()), files)
    (blob,) = (path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file())
    blob.unlink()
    blob.write_bytes(data[:-1])
    assert hub_files.recall(store, files) == {}
    saved = hub.save(store, key(commit=OTHER), {"file": content}, about())
    assert (store.load(saved.ref, tmp_path / "out") / "file").read_bytes() == data


def test_a_large_file_is_known_by_its_name_on_a_machine_that_never_saw_it(store, large, tmp_path):
    hub.save(store, key(), {"large": large}, about())
    elsewhere = open_store(tmp_path / "store", cache_dir=tmp_path / "other cache")
    found = hub_files.named(elsewhere, [Announced("x", 1 << 20, sha256(large))])
    assert found["x"].read_bytes() == large.read_bytes()


@pytest.fixture(params=[1024, 1 << 20], ids=["small", "large"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "kept"
    path.write_bytes(b"\4" * request.param)
    return path


def test_a_file_is_kept_by_a_link_and_can_be_written_no_more(store, kept):
    hub.save(store, key(), {"kept": kept}, about())
    blob = store.blob_path(Digest(sha256(kept)))
    assert blob.samefile(kept)
    assert not kept.stat().st_mode & 0o222


def test_a_file_that_its_owner_shows_to_nobody_stays_so(store, kept):
    kept.chmod(0o600)
    hub.save(store, key(), {"kept": kept}, about())
    blob = store.blob_path(Digest(sha256(kept)))
    assert blob.samefile(kept)
    assert blob.stat().st_mode & 0o777 == 0o400


def test_a_file_that_its_owner_shows_to_nobody_is_copied_into_a_shared_store(store, kept):
    store.save(Key.of("hub", "any"), Payload(files={"a": b"a" * 5000}))
    for folder in (store.backend.root, store.backend.root / "blobs"):
        folder.chmod(0o770)
    kept.chmod(0o600)
    hub.save(store, key(), {"kept": kept}, about())
    assert not store.blob_path(Digest(sha256(kept))).samefile(kept)
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_linked_is_copied(store, kept, monkeypatch):
    def across(*arguments: object, **options: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    hub.save(store, key(), {"kept": kept}, about())
    blob = store.blob_path(Digest(sha256(kept)))
    assert blob.read_bytes() == kept.read_bytes()
    assert not blob.samefile(kept)


def test_small_files_of_another_file_system_share_a_pack(store, tmp_path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    elsewhere = Path(tempfile.mkdtemp(dir=memory))
    try:
        for name in ("a", "b"):
            (elsewhere / name).write_bytes(name.encode() * 5000)
        saved = hub.save(store, key(), {name: elsewhere / name for name in "ab"}, about())
    finally:
        shutil.rmtree(elsewhere)
    assert len(store.manifest(saved.ref).blobs) == 1
    into = store.load(saved.ref, tmp_path / "out")
    assert [(into / name).read_bytes() for name in "ab"] == [b"a" * 5000, b"b" * 5000]


def test_what_was_forgotten_is_no_longer_known(store):
    files = [Announced("greeting", 6, GREETING_GIT)]
    hub_files.remember(store, hub.save(store, key(), {"greeting": GREETING}, about()), files)
    store.forget(key())
    assert hub_files.recall(store, files) == {}


@pytest.mark.parametrize("is_large", [True, False])
def test_a_download_that_was_forced_replaces_what_is_damaged(store, large, tmp_path, is_large):
    data = large.read_bytes() if is_large else b"\3" * 5000
    content = large if is_large else data  # By itself, or in a pack with others.
    files = [Announced("file", len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")]
    hub.save(store, key(), {"file": content}, about())
    (blob,) = (path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file())
    blob.unlink()
    blob.write_bytes(data[:-1] + b"0")
    large.write_bytes(data)
    hub_files.quarantine_damaged(store, key(), files)
    saved = hub.save(store, key(), {"file": content}, about())
    assert (store.load(saved.ref, tmp_path / "out") / "file").read_bytes() == data
