"""Links within a tree stay links, others are followed; sockets and pipes are passed over."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.errors import UsageError
from memoflow.objects import Tree, unpack
from tests.objects.test_trees import save, snapshot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "epoch3.ckpt").write_text("weights")
    (root / "sub" / "file").write_text("file")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "file").write_text("outside")
    (outside / "deep" / "file").write_text("deep outside")
    return root


def loaded(tree: Path, out: Path) -> Path:
    backend = Memory()
    unpack(backend, save(backend, tree), out)
    return out


@pytest.mark.parametrize(
    ("link", "target", "kept"),
    [
        ("last.ckpt", "{tree}/epoch3.ckpt", "epoch3.ckpt"),
        ("sub/last", "{tree}/epoch3.ckpt", "../epoch3.ckpt"),
        ("sub/last", "{alias}/epoch3.ckpt", "../epoch3.ckpt"),
        ("last", "{tree}/not/there", "not/there"),
        ("last", "./sub/../epoch3.ckpt", "./sub/../epoch3.ckpt"),
        ("all", "{tree}/sub", "sub"),
        ("last", "../tree/epoch3.ckpt", "epoch3.ckpt"),
        ("sub/up", "{tree}", ".."),
        ("dangling", "nowhere", "nowhere"),
    ],
)
def test_a_link_within_the_tree_stays_one(
    tree: Path, tmp_path: Path, link: str, target: str, kept: str
) -> None:
    (tmp_path / "alias").symlink_to(tree)
    (tree / link).symlink_to(target.format(tree=tree, alias=tmp_path / "alias"))
    assert os.readlink(loaded(tree, tmp_path / "out") / link) == kept


def test_a_link_to_a_file_outside_is_saved_as_that_file(tree: Path, tmp_path: Path) -> None:
    (tree / "by_path").symlink_to(tmp_path / "outside" / "file")
    (tree / "chain").symlink_to("by_path")
    (tree / "sub" / "relative").symlink_to("../../outside/file")
    out = loaded(tree, tmp_path / "out")
    assert not (out / "by_path").is_symlink()
    assert (out / "by_path").read_text() == (out / "chain").read_text() == "outside"
    assert (out / "sub" / "relative").read_text() == "outside"
    assert os.readlink(out / "chain") == "by_path"


def test_a_link_to_a_folder_outside_is_saved_with_all_in_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside" / "latest").symlink_to(tmp_path / "outside" / "deep")
    (tmp_path / "outside" / "back").symlink_to(tree / "epoch3.ckpt")
    (tree / "scratch").symlink_to(tmp_path / "outside")
    out = loaded(tree, tmp_path / "out")
    assert (out / "scratch" / "deep" / "file").read_text() == "deep outside"
    assert os.readlink(out / "scratch" / "latest") == "deep"
    assert os.readlink(out / "scratch" / "back") == "../epoch3.ckpt"


def test_a_snapshot_of_the_hubs_cache_is_saved_as_its_files(tmp_path: Path) -> None:
    blobs, snapshot_of = tmp_path / "blobs", tmp_path / "snapshots" / "0a1b" / "onnx"
    blobs.mkdir()
    snapshot_of.mkdir(parents=True)
    (blobs / "abc").write_text("config")
    (snapshot_of / "config.json").symlink_to("../../../blobs/abc")
    out = loaded(snapshot_of.parent, tmp_path / "out")
    assert snapshot(out) == {b"onnx": None, b"onnx/config.json": (b"config", False)}


def test_a_tree_is_found_through_a_link_to_it(tree: Path, tmp_path: Path) -> None:
    (tree / "last").symlink_to(tree / "epoch3.ckpt")
    (tmp_path / "alias").symlink_to(tree)
    assert os.readlink(loaded(tmp_path / "alias", tmp_path / "out") / "last") == "epoch3.ckpt"


def test_a_link_to_a_folder_that_the_tree_is_in_is_refused(tree: Path, tmp_path: Path) -> None:
    (tree / "up").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="leads back to a folder that it is in"):
        save(Memory(), tree)


def test_links_in_a_circle_are_refused(tree: Path) -> None:
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    with pytest.raises(UsageError, match="circles"):
        save(Memory(), tree)


def test_a_link_to_nothing_outside_is_passed_over_with_a_line(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "dangling").symlink_to(tmp_path / "not there")
    assert not os.path.lexists(loaded(tree, tmp_path / "out") / "dangling")
    assert "dangling (a link to" in caplog.text


def test_pipes_and_sockets_and_devices_are_passed_over_with_one_line(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    for number in range(5):
        os.mkfifo(f"pipe{number}")
    (tree / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        out = loaded(tree, tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {"sub", "epoch3.ckpt"}
    assert len(caplog.messages) == 1
    assert "null (a character device), pipe0 (a fifo), pipe1 (a fifo), and 4 more" in caplog.text


def test_a_pipe_itself_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="it is a fifo"):
        save(Memory(), tmp_path / "pipe")


def test_folders_linked_to_each_other_outside_are_refused(tree: Path, tmp_path: Path) -> None:
    for one, other in (("x", "y"), ("y", "x")):
        (tmp_path / one).mkdir()
        (tmp_path / one / "to").symlink_to(tmp_path / other)
    (tree / "in").symlink_to(tmp_path / "x")
    out = loaded(tree, tmp_path / "out")
    assert os.readlink(out / "in" / "to" / "to") == ".."


def test_a_folder_of_which_nothing_is_taken_is_kept_as_empty(tmp_path: Path) -> None:
    folder = tmp_path / "tree" / "pipes"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "fifo")
    assert Tree.survey(tmp_path / "tree", {}).folders == ["pipes"]
