"""Project: what paths are relative to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memoflow.fingerprint.project import anchors, relative, root_of


def made(directory: Path, *names: str) -> Path:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    return directory


@pytest.mark.parametrize(
    ("names", "file", "root"),
    [
        (["p/flow.py"], "p/flow.py", "p"),
        (["p/pkg/__init__.py", "p/pkg/sub/__init__.py", "p/pkg/sub/m.py"], "p/pkg/sub/m.py", "p"),
        (["p/.git/", "p/a/b/flow.py"], "p/a/b/flow.py", "p"),
        (["p/.git", "p/a/flow.py"], "p/a/flow.py", "p"),
        (["p/pyproject.toml", "p/a/flow.py"], "p/a/flow.py", "p"),
        (["p/.git/", "p/a/setup.py", "p/a/b/flow.py"], "p/a/b/flow.py", "p/a"),
        (["p/.git/", "p/pkg/pyproject.toml", "p/pkg/__init__.py", "p/pkg/m.py"], "p/pkg/m.py", "p"),
        (["p/a/"], "p/a", "p/a"),
    ],
)
def test_the_root_is_that_of_the_repository_or_package(
    tmp_path: Path, names: list[str], file: str, root: str
) -> None:
    made(tmp_path, *names)
    assert root_of(str(tmp_path / file)) == str(tmp_path / root)


def test_the_root_is_not_the_home_directory_or_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, ".git/", "home/.git/", "home/work/flow.py", "home/loose.py")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert root_of(str(tmp_path / "home/work/flow.py")) == str(tmp_path / "home/work")
    assert root_of(str(tmp_path / "home/loose.py")) == str(tmp_path / "home")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/p", "."),
        ("/p/a/b", "a/b"),
        ("/p//a/../b/", "b"),
        ("/p/../q", None),
        ("/p2/a", None),
        ("p/a", None),
        ("a", None),
        ("", None),
        ("/", None),
    ],
)
def test_a_path_below_the_root_is_relative_to_it(text: str, found: str | None) -> None:
    assert relative(text, "/p") == found


def test_a_path_behind_a_link_is_relative_as_well(tmp_path: Path) -> None:
    made(tmp_path, "real/a/b")
    (tmp_path / "link").symlink_to("real")
    assert relative(str(tmp_path / "real/a/b"), str(tmp_path / "link")) == "a/b"
    found = anchors(str(tmp_path / "link" / "flow.py"))
    assert found is not None
    assert found.split(str(tmp_path / "link/x")) == found.split(str(tmp_path / "real/x"))


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("/p/flows", ["", "0:0", ""]),
        ("/p/flows/x", ["", "0:0", "/x"]),
        ("/p/flows2/x", ["", "0:1", "/flows2/x"]),
        ("/p", ["", "0:1", ""]),
        ("--a=/p/x --b='/p/flows/y'", ["--a=", "0:1", "/x --b='", "0:0", "/y'"]),
        ("sqlite:////p/db", ["sqlite:///", "0:1", "/db"]),
        ("file:///p/db", ["file://", "0:1", "/db"]),
        ("/mnt/p/x", None),
        ("/p2/x", None),
        ("host:/p/x", None),
        ("http://host/p/x", None),
        ("/p.old", None),
        ("x/p/y", None),
        ("", None),
    ],
)
def test_texts_are_split_where_they_name_the_project(
    monkeypatch: pytest.MonkeyPatch, text: str, pieces: list[str] | None
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/p/.git")
    root_of.cache_clear()
    anchors.cache_clear()
    found = anchors("/p/flows/flow.py")
    root_of.cache_clear()
    anchors.cache_clear()
    assert found is not None
    assert found.split(text) == pieces


def test_nothing_is_relative_to_the_root_of_the_file_system() -> None:
    assert anchors("/flow.py") is None
    assert anchors() is None
