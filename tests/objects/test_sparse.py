"""Holes: what was never written to takes no room, neither in the store nor when it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.objects import unpack
from tests.objects.test_trees import MIB, save, snapshot


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    with open(root / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(300 * MIB + 123)
        file.write(b"middle")
        file.truncate(700 * MIB + 7)
    (root / "zeros").write_bytes(bytes(3 * MIB))
    (root / "nearly").write_bytes(bytes(2 * MIB) + b"end")
    with open(root / "empty", "wb") as file:
        file.truncate(5 * MIB)
    return root


@pytest.mark.parametrize("whole", [False, True])
def test_a_file_with_holes_comes_back_equal_and_as_small(
    tree: Path, tmp_path: Path, whole: bool
) -> None:
    backend = Local(tmp_path / "store")
    unpack(backend, save(backend, tree, whole=whole), tmp_path / "out")  # type: ignore[arg-type]
    assert snapshot(tmp_path / "out") == snapshot(tree)
    assert blocks(tmp_path / "out" / "sparse") < 10 * MIB
    assert blocks(tmp_path / "out" / "empty") == 0


def test_holes_are_stored_once(tree: Path, tmp_path: Path) -> None:
    backend = Local(tmp_path / "store")
    save(backend, tree)  # type: ignore[arg-type]
    assert sum(found.size_bytes for found in backend.list("blobs")) < 4 * MIB


def test_what_is_behind_the_last_hole_is_read(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with open(tmp_path / "tree" / "file", "wb") as file:
        file.seek(3 * MIB)
        file.write(os.urandom(MIB))
    backend = Local(tmp_path / "store")
    unpack(backend, save(backend, tmp_path / "tree"), tmp_path / "out")  # type: ignore[arg-type]
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "tree")
