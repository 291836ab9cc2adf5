"""`legacy/data` is what metaflow-checkpoint itself saved; `legacy/make.py` says how."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from memoflow.backends import Backend, Local, Memory
from memoflow.errors import (
    BackendUnavailableError,
    BadKeyError,
    IntegrityError,
    NotFoundError,
    UnsignedError,
    UsageError,
)
from memoflow.kinds import legacy_identity
from memoflow.kinds.legacy import Legacy, is_key

DATA = Path(__file__).parent / "legacy" / "data"
SEEN = json.loads((DATA / "seen.json").read_text())
FIRST, AGAIN = (each for each in SEEN if "/start/" in each["pathspec"])
MODELS = next(each["models"] for each in SEEN if "models" in each)
SCOPE = legacy_identity.scope_of("user:me")
START = ("Old", "start", SCOPE, FIRST["identifier"])
SAVED = {(each["name"], each["version_id"]): each for each in FIRST["saved"]}
FOLDER, TAR = SAVED["mfchckpt", 0], SAVED["mfchckpt", 1]
# Its folder is linked to its file `state.json`, which it saved as a second file.
FILES = {".hidden", "link", "state.json", "sub/weights.bin"}


@pytest.fixture
def old() -> Legacy:
    return Legacy(Local(DATA))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA, tmp_path / "root"))


@pytest.fixture
def legacy(root: Path) -> Legacy:
    """The same, in a copy that a test may damage."""
    return Legacy(Local(root))


@pytest.fixture
def into(tmp_path: Path) -> Iterator[Path]:
    """A directory to load into; nothing else may appear beside it or be left."""
    folder = tmp_path / "target"
    folder.mkdir()
    yield folder / "into"
    assert {path.name for path in folder.iterdir()} <= {"into"}


def in_memory(root: Path) -> Legacy:
    """The same data where no file lies on this machine, as in a bucket."""
    memory = Memory()
    for path in root.rglob("[!.]*"):
        if path.is_file():
            memory.write(str(path.relative_to(root)), path.read_bytes())
    return Legacy(memory)


def paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def keys(references: list[dict]) -> list[str]:
    return [reference["key"] for reference in references]


def note(root: Path, key: str) -> Path:
    return root / (key.replace("/artifacts/", "/artifact_metadata/") + ".metadata")


def every_reference() -> list[dict]:
    return [
        one for seen in SEEN for one in (*seen.get("saved", ()), *seen.get("models", {}).values())
    ]


@pytest.mark.parametrize("saved", every_reference(), ids=lambda saved: saved["key"][-24:])
def test_every_reference_is_found_by_its_key(old, saved):
    assert is_key(saved["key"])
    assert old.reference(saved["key"]) == saved
    assert old.reference(saved["url"]) == saved


@pytest.mark.parametrize("saved", every_reference(), ids=lambda saved: saved["key"][-24:])
def test_every_save_loads_by_reference_and_by_key(old, saved, into):
    assert old.load(saved, into) == into
    once = paths(into)
    assert once
    old.load(saved["key"], into)
    assert paths(into) == once


def test_a_folder_comes_back_with_its_hidden_files(old, into):
    old.load(FOLDER, into)
    assert paths(into) == FILES
    assert (into / "sub" / "weights.bin").read_bytes() == bytes([*range(200), 1])
    assert (into / ".hidden").read_text() == "kept too"


def test_a_tar_comes_back_with_its_links(old, into):
    old.load(TAR, into)
    assert paths(into) == FILES
    assert os.readlink(into / "link") == "state.json"
    assert (into / "link").read_text() == '{"attempt": 1}'


def test_a_model_keeps_modes_hard_links_and_empty_folders(old, into):
    old.load(MODELS["tar"], into)
    assert paths(into) == {"config.json", "same.json", "latest", "run.sh", "sub/weights.bin"}
    assert (into / "sub" / "empty").is_dir()
    assert os.access(into / "run.sh", os.X_OK)
    assert not os.access(into / "config.json", os.X_OK)
    assert (into / "same.json").read_text() == "{}"
    assert (into / "latest").read_bytes() == bytes(300)


@pytest.mark.parametrize("saved", ["one", "one in tar"])
def test_a_model_of_one_file_loads_under_its_name(old, saved, into):
    old.load(MODELS[saved], into)
    assert paths(into) == {"config.json"}


def test_a_hub_snapshot_loads_as_a_checkpoint_does(legacy, root, into):
    shutil.move(root / "mf.checkpoints", root / "mf.huggingface_hub")
    key = FOLDER["key"].replace("mf.checkpoints", "mf.huggingface_hub")
    path = note(root, key)
    path.write_text(path.read_text().replace("mf.checkpoints", "mf.huggingface_hub"))
    assert legacy.reference(key)["key"] == key
    legacy.load(key, into)
    assert paths(into) == FILES


def test_what_is_loaded_is_no_alias_of_what_is_stored(legacy, root, into):
    legacy.load(FOLDER, into)
    (into / "state.json").write_text("changed")
    assert (root / FOLDER["key"] / "state.json").read_text() == '{"attempt": 1}'


def test_a_load_into_a_directory_leaves_other_files(old, into):
    (into / "sub").mkdir(parents=True)
    (into / "sub" / "other").write_text("stays")
    (into / "state.json").write_text("replaced")
    old.load(TAR, into)
    assert paths(into) == FILES | {"sub/other"}
    assert (into / "state.json").read_text() == '{"attempt": 1}'


def test_everything_is_read_through_the_backend(root, into):
    legacy = in_memory(root)
    assert legacy.latest(*START)["key"] == AGAIN["latest"]
    assert len(legacy.of_scope(*START)) == 15
    legacy.load(TAR, into / "tar")
    legacy.load(MODELS["files"], into / "files")
    assert paths(into / "tar") == FILES
    assert paths(into / "files") == {
        "config.json",
        "latest",
        "run.sh",
        "same.json",
        "sub/weights.bin",
    }


def test_nothing_is_ever_written(faulty_around, into):
    counting = faulty_around(Local(DATA))
    old = Legacy(counting)
    old.load(old.latest(*START), into)
    old.load(TAR["key"], into / "other")
    old.of_task(FIRST["pathspec"])
    assert counting.calls.keys() <= {"read", "open", "list", "sizes"}


def test_a_failing_backend_is_not_taken_for_absence(faulty_around):
    failing = faulty_around(Local(DATA))
    failing.fail_at("read")
    with pytest.raises(BackendUnavailableError):
        Legacy(failing).latest(*START)


# What a load policy takes.


def test_eager_takes_what_the_old_package_would(old):
    assert old.latest(*START)["key"] == AGAIN["latest"]


def test_fresh_takes_the_latest_of_the_task(old):
    found = old.latest(*START, task=FIRST["pathspec"])
    assert found["key"] == FIRST["latest"]
    assert (found["name"], found["attempt"]) == ("best", 1), "the newest by far is not for loading"


def test_candidates_are_those_of_the_task_then_all(old):
    of_task = keys(old.candidates(*START, task=FIRST["pathspec"], policy="fresh"))
    both = keys(old.candidates(*START, task=FIRST["pathspec"], policy="eager"))
    assert of_task[0] == FIRST["latest"]
    assert sorted(of_task) == sorted(FIRST["listed"])
    assert both[: len(of_task)] == of_task
    assert both[len(of_task)] == AGAIN["latest"]


def test_nothing_saved_is_none(old):
    assert old.latest("Old", "start", SCOPE, "0" * 12) is None
    assert old.latest(*START, task="Old/1/start/1") is None
    assert old.of_task("Old/1/start/1") == []


@pytest.mark.parametrize("torn", [b"", b'{"size": 237, "key": "mf.ch', b"[1]", b"\xff", b"{}"])
def test_a_torn_latest_falls_back_to_the_newest(legacy, root, torn, caplog):
    place = note(root, AGAIN["latest"]).parent / "latest"
    place.write_bytes(torn)
    assert legacy.latest(*START)["key"] == AGAIN["latest"]
    assert "taking the newest" in caplog.text


def test_a_torn_latest_of_a_task_falls_back_too(legacy, root):
    (root / "mf.checkpoints/checkpoints/metadata" / AGAIN["pathspec"] / "latest").write_bytes(b"")
    assert legacy.latest(*START, task=AGAIN["pathspec"])["key"] == AGAIN["latest"]


def test_a_latest_that_was_deleted_gives_way(legacy, root):
    note(root, AGAIN["latest"]).unlink()
    found = legacy.latest(*START)
    assert found["pathspec"] == FIRST["pathspec"]


# Lists.


def test_a_list_of_a_task_is_newest_first_over_attempts(old):
    listed = old.of_task(FIRST["pathspec"])
    assert sorted(keys(listed)) == sorted(FIRST["listed"])
    assert [each["attempt"] for each in listed] == [1] * 7 + [0] * 7
    names = [each["name"] for each in listed[:7]]
    assert names == ["aside", "best", "child", "v1.5", "one", "mfchckpt", "mfchckpt"]


def test_a_list_of_a_scope_spans_runs(old):
    listed = keys(old.of_scope(*START))
    assert listed[0] == AGAIN["saved"][0]["key"]
    assert sorted(listed) == sorted([*FIRST["listed"], *AGAIN["listed"]])


def test_attempts_are_numbers_even_of_a_subprocess(old):
    attempts = [each["attempt"] for each in old.of_scope(*START) if each["name"] == "child"]
    assert attempts == [1, 0]


def test_later_attempts_come_first_whatever_the_clock_said(legacy, root):
    folder = root / "mf.checkpoints/checkpoints/metadata" / FIRST["pathspec"]
    path = folder / "0.mfchckpt.0.metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"created_on": "2999-01-01"}))
    assert legacy.of_task(FIRST["pathspec"])[0]["attempt"] == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b'{"key": ',
        b"null",
        b"[" * 100_000,
        b'{"key": "mf.checkpoints/checkpoints/artifacts/../../../../etc/00000000.0.a.0"}',
        b'{"key": "/etc/passwd"}',
        b'{"key": ["mf.checkpoints"]}',
        json.dumps(TAR).encode(),
    ],
    ids=["empty", "torn", "null", "deep", "leaving", "absolute", "no text", "of another save"],
)
def test_damaged_metadata_hides_no_other_checkpoint(legacy, root, damage, caplog):
    note(root, FOLDER["key"]).write_bytes(damage)
    listed = keys(legacy.of_scope(*START))
    assert len(listed) == 14
    assert FOLDER["key"] not in listed
    assert "left out" in caplog.text
    with pytest.raises(IntegrityError):
        legacy.reference(FOLDER["key"])


def test_metadata_with_odd_fields_is_listed(legacy, root):
    path = note(root, FOLDER["key"])
    path.write_text(json.dumps({"key": FOLDER["key"], "created_on": 7, "version_id": None}))
    assert legacy.of_scope(*START)[-1]["key"] == FOLDER["key"]


def test_a_name_with_a_slash_is_listed_and_loads(legacy, root, into):
    key = FOLDER["key"].replace("mfchckpt", "epoch/1")
    for place in (root / key, note(root, key)):
        place.parent.mkdir(exist_ok=True)
    shutil.move(root / FOLDER["key"], root / key)
    note(root, key).write_text(json.dumps(FOLDER | {"key": key, "name": "epoch/1"}))
    assert key in keys(legacy.of_scope(*START))
    legacy.load(key, into)
    assert paths(into) == FILES


def test_what_is_no_task_is_refused(old):
    with pytest.raises(UsageError, match="Flow/run/step/task"):
        old.of_task("Old/1/start")


# Keys.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mf.models/models/artifacts/",
        "checkpoint/Old/start/3a12c0aa5bf7/a92ae9615600/00000001",
        "mf.checkpoints/checkpoints/artifacts/Old/start/3a12c0aa5bf7/a92ae9615600/680de4c0.0.best",
        "mf.checkpoints/checkpoints/artifacts/Old/start/../a92ae9615600/680de4c0.0.best.4",
        "mf.models/models/artifacts/../../x",
        "mf.models/models/artifacts//etc/passwd",
        "mf.models/models/artifacts/a\0b",
        note(Path(), FOLDER["key"]).as_posix(),
        f"{FOLDER['key']}/state.json",
        f"{FOLDER['key']}{'9' * 5000}",
    ],
)
def test_other_texts_are_no_keys(old, text, into):
    assert not is_key(text)
    for ask in (lambda: old.reference(text), lambda: old.load({"key": text}, into)):
        with pytest.raises(BadKeyError, match="is no key of metaflow-checkpoint"):
            ask()


def test_a_key_that_hides_in_the_backend_is_refused(old, into):
    with pytest.raises(UsageError):
        old.load(MODELS["tar"] | {"key": "mf.models/models/artifacts/.label_0"}, into)


def test_a_key_of_hub_in_another_scope_is_one():
    assert is_key(
        "mf.huggingface_hub/checkpoints/artifacts/mf:internal/huggingface-hub/registry:global/"
        "fully-global/680de4c0.0.1a79a4d60d.0"
    )


# What is missing or damaged.


@pytest.mark.parametrize("saved", [FOLDER, TAR, *MODELS.values()], ids=lambda saved: saved["key"])
def test_what_is_gone_is_said_to_be(legacy, root, saved, into):
    place = root / saved["key"]
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    for reference in (saved, saved["key"]):
        with pytest.raises(NotFoundError, match="is not here: it was deleted"):
            legacy.load(reference, into)
    assert not into.exists()


def test_a_save_that_never_finished_is_not_loaded_by_key(legacy, root, into):
    note(root, FOLDER["key"]).unlink()  # Written after the files.
    assert legacy.reference(FOLDER["key"]) is None
    with pytest.raises(NotFoundError, match="never finished"):
        legacy.load(FOLDER["key"], into)


def test_an_empty_folder_that_was_saved_is_loaded(legacy, root, into):
    shutil.rmtree(root / FOLDER["key"])
    legacy.load(FOLDER | {"size": 0}, into)
    assert list(into.iterdir()) == []


def test_a_reference_without_its_format_is_looked_up(old, into):
    old.load({"key": TAR["key"]}, into)
    assert paths(into) == FILES


@pytest.mark.parametrize("form", ["zip", None, ["tar"]])
def test_an_unknown_format_is_refused(old, form, into):
    with pytest.raises(UsageError, match="only tar and files"):
        old.load(TAR | {"storage_format": form}, into)


@pytest.mark.parametrize("lost", [1, 512, 10_000, 20_480])
def test_a_tar_of_another_size_is_not_loaded(legacy, root, lost, into):
    os.truncate(root / TAR["key"], TAR["size"] - lost)
    with pytest.raises(IntegrityError, match=r"has \d+ bytes, and 20480 were saved"):
        legacy.load(TAR, into)
    assert not into.exists()


def test_a_truncated_tar_is_noticed_by_itself(legacy, root, into):
    place = root / TAR["key"]
    with tarfile.open(place) as tar:
        tar.getmembers()
        end = tar.offset + 1024  # What follows is padding.
    for length in reversed(range(0, end, 256)):
        os.truncate(place, length)
        with pytest.raises(IntegrityError, match="load another checkpoint"):
            legacy.load({"key": TAR["key"], "storage_format": "tar"}, into)
    assert not into.exists()


def test_a_damaged_header_is_no_end(legacy, root, into):
    place = root / TAR["key"]
    with tarfile.open(place) as tar:
        offset = tar.getmembers()[-1].offset
    data = bytearray(place.read_bytes())
    data[offset + 150] ^= 1
    place.write_bytes(data)
    with pytest.raises(IntegrityError, match="cut short or damaged"):
        legacy.load(TAR, into)


def test_a_file_that_is_too_short_is_noticed(legacy, root, into):
    os.truncate(root / FOLDER["key"] / "sub" / "weights.bin", 100)
    with pytest.raises(IntegrityError, match="has 136 bytes, and 237 were saved"):
        legacy.load(FOLDER, into)
    assert not into.exists()


def test_two_saves_under_one_name_load_with_a_warning(legacy, root, into, caplog):
    (root / FOLDER["key"] / "of_subprocess").write_text("mixed in")
    with caplog.at_level(logging.WARNING):
        legacy.load(FOLDER, into)
    assert paths(into) == FILES | {"of_subprocess"}
    assert "loading all of it" in caplog.text


# What somebody made to do harm.


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil")],
        [member("a/../../evil")],
        [member("/evil")],
        [member("a//evil")],
        [member("..", tarfile.DIRTYPE)],
        [member("link", LINK, "../../evil")],
        [member("link", LINK, "/etc/passwd")],
        [member("link", LINK, "..")],
        [member("link", LINK, "sub/up"), member("sub/up", LINK, "../..")],
        [member("link", LINK, "link")],
        [member("link", LINK, "a"), member("link", LINK, "b")],
        [member("link", LINK, "."), member("link/evil")],
        [member("hard", HARD, "../evil")],
        [member("hard", HARD, "/etc/passwd")],
        [member("hard", HARD, "hard")],
        [member("link", LINK, "a"), member("hard", HARD, "link")],
        [member("device", tarfile.CHRTYPE)],
        [member("device", tarfile.BLKTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("sparse", tarfile.GNUTYPE_SPARSE)],
        [member("strange", b"Z")],
        [member("twice"), member("twice")],
        [member("folder"), member("folder/file")],
        [member("x" * 300)],
    ],
    ids=lambda members: " ".join(f"{one.name[:20]}-{one.linkname}" for one in members),
)
def test_a_hostile_tar_is_refused_whole(legacy, root, members, into, tmp_path):
    with tarfile.open(root / TAR["key"], "w") as tar:
        tar.addfile(member("good"))
        for one in members:
            tar.addfile(one, io.BytesIO())
    before = set(tmp_path.rglob("*"))
    with pytest.raises(IntegrityError, match="load another checkpoint"):
        legacy.load(TAR | {"size": (root / TAR["key"]).stat().st_size}, into)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", [-1024, -(1 << 40), 1 << 62, 10**400])
def test_a_size_that_leads_backwards_or_nowhere_ends_the_load(legacy, root, size, into):
    with tarfile.open(root / TAR["key"], "w", format=tarfile.PAX_FORMAT) as tar:
        one = member("file")
        one.pax_headers = {"size": str(size)}
        tar.addfile(one)
    with pytest.raises(IntegrityError):
        legacy.load({"key": TAR["key"], "storage_format": "tar"}, into)


@pytest.mark.parametrize("content", [b"", b"no tar at all", bytes(512), b"\x1f\x8b" + bytes(2000)])
def test_what_is_no_tar_is_refused(legacy, root, content, into):
    (root / TAR["key"]).write_bytes(content)
    with pytest.raises(IntegrityError):
        legacy.load({"key": TAR["key"], "storage_format": "tar"}, into)


def test_a_tar_of_nothing_is_an_empty_directory(legacy, root, into):
    with tarfile.open(root / TAR["key"], "w"):
        pass
    legacy.load({"key": TAR["key"], "storage_format": "tar"}, into)
    assert list(into.iterdir()) == []


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_a_link_or_pipe_among_stored_files_is_refused(legacy, root, make, into):
    make(root / FOLDER["key"] / "sub" / "evil")
    with pytest.raises(IntegrityError, match="neither a file nor a folder"):
        legacy.load(FOLDER, into)
    assert not into.exists()


def test_names_in_a_bucket_are_checked_too(root, into):
    legacy = in_memory(root)
    backend: Backend = legacy.backend
    backend.write(f"{FOLDER['key']}/a", b"")
    backend.write(f"{FOLDER['key']}/a/b", b"")
    with pytest.raises(IntegrityError, match="both a file and a folder"):
        legacy.load(FOLDER, into)


# Who shares checkpoints with whom.


def test_a_plain_step_has_the_identifier_it_had():
    assert legacy_identity.step_identifier("start") == FIRST["identifier"]


@pytest.mark.parametrize(
    "seen",
    [each for each in SEEN if "/each/" in each["pathspec"]],
    ids=lambda each: each["pathspec"],
)
def test_a_foreach_item_has_the_identifier_it_had(old, seen):
    identifier = legacy_identity.foreach_identifier([seen["item"]])
    assert identifier == seen["identifier"]
    found = old.latest("Old", "each", SCOPE, identifier)
    assert found["pathspec"].split("/")[0::2] == ["Old", "each"]


def test_nodes_of_a_gang_have_the_identifiers_they_had():
    control, node = (
        next(each for each in SEEN if each["pathspec"].endswith(end))
        for end in ("gang/9", "gang/9_node_1")
    )
    assert legacy_identity.parallel_identifier([]) == node["identifier"]
    assert legacy_identity.foreach_identifier([control["item"]]) == control["identifier"]


def test_what_json_cannot_hold_has_no_identifier():
    for value in ({1, 2}, object(), {1: 0, "a": 0}, float, b"bytes"):
        assert legacy_identity.foreach_identifier([value]) is None
        assert legacy_identity.parallel_identifier([value]) is None


def test_a_task_is_hashed_as_it_was():
    for saved in FIRST["saved"]:
        assert legacy_identity.pathspec_hash(saved["pathspec"]) == saved["pathspec_hash"]


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("checkpoint:team", "team"),
        ("checkpoint:a:b", "a"),
        ("my-checkpoint:x", "x"),
        ("team", None),
        ("checkpoint", None),
    ],
)
def test_a_tag_scopes_as_it_did(tag, text):
    expected = None if text is None else legacy_identity.scope_of(text)
    assert legacy_identity.scope_of_tag(tag) == expected


@pytest.fixture
def untrusted(root: Path) -> Legacy:
    return Legacy(Local(root), is_trusted=False)


def test_what_is_not_trusted_is_passed_over_and_said_once(untrusted, caplog):
    assert untrusted.latest(*START) is None
    assert untrusted.latest(*START, task=AGAIN["pathspec"]) is None
    assert untrusted.of_scope(*START) == []
    assert untrusted.of_task(AGAIN["pathspec"]) == []
    (message,) = caplog.messages
    assert "METAFLOW_MEMOFLOW_LEGACY=1" in message


def test_nothing_is_said_where_there_is_nothing(tmp_path, caplog):
    (tmp_path / "none").mkdir()
    assert Legacy(Local(tmp_path / "none"), is_trusted=False).of_scope(*START) == []
    assert caplog.messages == []


def test_what_is_asked_for_and_not_trusted_is_an_error(untrusted, old, into):
    for reference in (FOLDER, FOLDER["key"], TAR, MODELS["files"]):
        with pytest.raises(UnsignedError, match="METAFLOW_MEMOFLOW_LEGACY=1"):
            untrusted.load(reference, into)
    with pytest.raises(UnsignedError, match="METAFLOW_MEMOFLOW_LEGACY=1"):
        untrusted.reference(FOLDER["key"])
    assert not into.exists()
