"""show and get: one entry, and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shelf


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_a_result_is_shown_with_origin_reads_parts_and_artifacts(empty: Shelf):
    data = empty.json("show", empty.record(7))
    assert data["origin"] == "Sweep/1/fit/7"
    assert data["run_time_s"] == 2.5
    assert [(each["name"], each["summary"]) for each in data["reads"]] == [("x", "7")]
    assert [each["name"] for each in data["parts"]] == ["train()"]
    assert [each["name"] for each in data["artifacts"]] == ["score"]


def test_a_result_says_which_checkpoints_it_refers_to(empty: Shelf):
    key = empty.checkpoint("one")
    assert empty.json("show", empty.record(1, refers_to=(key,)))["refers_to"] == [key]


def test_a_checkpoint_is_shown_with_what_was_noted(empty: Shelf):
    data = empty.json("show", empty.checkpoint("one"))
    assert data["origin"] == "Train/1/fit/3"
    assert data["about"] == {"name": "epoch", "attempt": 0, "loss": "NaN"}
    assert data["files"] == [{"path": "weights.txt", "size_bytes": 3, "target": None}]


def test_a_snapshot_is_shown_with_repository_and_commit(empty: Shelf):
    about = empty.json("show", empty.snapshot())["about"]
    assert (about["repo"], about["commit"]) == ("model org/name", "c" * 40)


def test_the_first_fifty_files_are_shown_and_the_rest_counted(empty: Shelf):
    key = empty.model({f"{n:03}.txt": "" for n in range(60)})
    data = empty.json("show", key)
    assert (len(data["files"]), data["files_total"]) == (50, 60)
    assert "and 10 more files" in empty.run("show", key).stdout


def test_every_kind_can_be_shown_to_people(shelf: Shelf):
    for each in shelf.json("ls")["entries"]:
        done = shelf.run("show", each["id"])
        assert done.exit_code == 0
        assert each["key"] in done.stdout


def test_files_are_got_into_a_new_directory(empty: Shelf):
    data = empty.json("get", empty.model({"a.txt": "A", "sub/b.txt": "B"}))
    assert (Path(data["into"]) / "sub" / "b.txt").read_text() == "B"
    assert data["files"] == ["a.txt", "sub/b.txt"]


@pytest.mark.parametrize(
    ("path", "got"), [("a.txt", ["a.txt"]), ("sub", ["sub/b.txt"]), ("sub/", ["sub/b.txt"])]
)
def test_one_file_or_folder_can_be_got_alone(empty: Shelf, path: str, got: list[str]):
    key = empty.model({"a.txt": "A", "sub/b.txt": "B", "subject.txt": "C"})
    assert empty.json("get", key, path, "--into", "here")["files"] == got
    found = [str(each.relative_to("here")) for each in Path("here").rglob("*") if each.is_file()]
    assert found == got


def test_a_file_that_is_not_there_is_an_error(empty: Shelf):
    done = empty.run("get", empty.model({"a.txt": "A"}), "b.txt")
    assert done.exit_code == 1
    assert "'b.txt'" in done.output


def test_a_file_of_the_users_is_not_replaced(empty: Shelf):
    key = empty.model({"a.txt": "A"})
    Path("here").mkdir()
    Path("here/a.txt").write_text("mine")
    done = empty.run("get", key, "--into", "here")
    assert done.exit_code == 1
    assert Path("here/a.txt").read_text() == "mine"
    assert empty.run("get", key, "--into", "here", "--force").exit_code == 0
    assert Path("here/a.txt").read_text() == "A"


def test_a_directory_is_got_where_other_files_are(empty: Shelf):
    Path("here").mkdir()
    Path("here/mine.txt").write_text("mine")
    assert empty.run("get", empty.model({"a.txt": "A"}), "--into", "here").exit_code == 0
    assert Path("here/mine.txt").read_text() == "mine"


def test_a_result_is_not_unpickled_and_it_is_said_what_reads_it(empty: Shelf):
    done = empty.run("get", empty.record(7))
    assert done.exit_code == 1
    assert "score" in done.output
    assert "Task('Sweep/1/fit/7')" in done.output
    assert list(Path().iterdir()) == []


def test_damaged_files_are_not_handed_out(empty: Shelf):
    key = empty.model({"a.bin": "A" * 5000})
    for path in (empty.root / "blobs").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"B" * path.stat().st_size)
    done = empty.run("get", key, "--into", "here")
    assert done.exit_code == 3
    assert not Path("here/a.bin").exists()
