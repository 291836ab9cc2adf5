"""What is in the way of a load is an error, not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.errors import UsageError
from memoflow.objects import Manifest, unpack
from tests.objects.test_trees import save, snapshot


@pytest.fixture
def backend() -> Memory:
    return Memory()


@pytest.fixture
def saved_folder(backend: Memory, tmp_path: Path) -> Manifest:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a").write_text("new")
    (source / "sub" / "b").write_text("new")
    (source / "z").write_text("new")
    return save(backend, source)


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("z", lambda path: [path.mkdir(), (path / "dear").write_text("dear")]),
        ("sub", lambda path: path.write_text("dear")),
        ("sub", lambda path: path.symlink_to("..")),
        ("z", lambda path: path.symlink_to("a")),
    ],
    ids=["a folder for a file", "a file for a folder", "a link for a folder", "a link for a file"],
)
def test_what_is_of_another_type_is_an_error_and_nothing_changes(
    backend, saved_folder, tmp_path, path, make
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    make(out / path)
    before = snapshot(out)
    with pytest.raises(UsageError, match=path):
        unpack(backend, saved_folder, out)
    assert snapshot(out) == before
