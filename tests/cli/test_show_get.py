"""show and get: one entry, and its files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow.store import Store
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


def test_a_state_is_shown_with_its_leaves(empty: Shelf):
    weights = np.zeros((30, 20), np.float32)
    key = empty.state({"model": {"w": weights, "raw": bytes(100)}, "epoch": 3})
    data = empty.json("show", key)
    assert data["about"]["storage_format"] == "state"
    assert data["leaves"] == [
        {"name": "model.w", "dtype": "F32", "shape": [30, 20], "size_bytes": 2400},
        {"name": "model.raw", "dtype": "U8", "shape": [100], "size_bytes": 100},
    ]
    assert re.search(r"model\.w\s+F32\s+30 x 20\s+2\.4 kB", empty.run("show", key).stdout)


def test_the_first_twenty_leaves_are_shown_and_the_rest_counted(empty: Shelf):
    key = empty.state({f"{n:02}": np.full(100, n) for n in range(25)})
    data = empty.json("show", key)
    assert (len(data["leaves"]), data["leaves_total"]) == (20, 25)
    shown = empty.run("show", key).stdout
    assert "and 5 more" in shown
    assert ("19\tI64" in shown, "20\tI64" in shown) == (True, False)


def test_only_the_header_of_a_state_is_read(empty: Shelf, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    as_ever = Store.read_ranges

    def counted(store: Store, manifest: Any, path: str, ranges: Any) -> Any:
        asked.extend(length for _, length in ranges)
        return as_ever(store, manifest, path, ranges)

    monkeypatch.setattr(Store, "read_ranges", counted)
    assert empty.json("show", empty.state({"w": np.zeros(100_000)}))["leaves_total"] == 1
    assert len(asked) == 2
    assert sum(asked) < 1000


def test_the_leaves_of_a_gang_are_those_of_each_node(empty: Shelf):
    data = empty.json("show", empty.state({"w": np.zeros(100)}, nodes=2))
    assert data["about"]["nodes"] == 2
    assert [each["name"] for each in data["leaves"]] == ["node-0/w", "node-1/w"]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 8,
        (5).to_bytes(8, "little") + b"[1,2]",
        (2).to_bytes(8, "little") + b"{x",
        (8).to_bytes(8, "little") + b'{"w": 1}',
        (38).to_bytes(8, "little") + b'{"w":{"data_offsets":[9],"shape":[1]}}',
        (40).to_bytes(8, "little") + b'{"w":{"data_offsets":[9,8],"shape":[1]}}',
    ],
)
def test_a_state_whose_header_is_damaged_is_an_error(empty: Shelf, header: bytes):
    done = empty.run("show", empty.state_of_files({"state.safetensors": header}))
    assert done.exit_code == 3
    assert "the header of state.safetensors is damaged" in done.output


def test_a_state_is_got_as_plain_files(empty: Shelf):
    weights = np.arange(1000.0)
    key = empty.state({"w": weights, "epoch": 3})
    data = empty.json("get", key, "--into", "here")
    assert sorted(data["files"]) == ["state.json", "state.pickle", "state.safetensors"]
    assert Path("here/state.safetensors").read_bytes().endswith(weights.tobytes())


def test_the_folder_of_one_node_is_got_alone(empty: Shelf):
    key = empty.state({"w": np.arange(1000.0)}, nodes=3)
    assert len(empty.json("get", key, "--into", "all")["files"]) == 9
    files = empty.json("get", key, "node-1", "--into", "one")["files"]
    assert len(files) == 3
    assert all(each.startswith("node-1/state.") for each in files)


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
