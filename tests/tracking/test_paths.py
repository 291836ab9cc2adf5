"""Paths: which files may be inputs, and what they are called."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from memoflow.tracking import Paths
from tests.tracking.cases import put


@pytest.fixture
def paths(project: Path) -> Paths:
    return Paths(str(project / "flows"), str(project), [str(project / "flows" / ".metaflow")])


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hosts",
        "/proc/self/maps",
        "/usr/lib/x.txt",
        "/usr/share/zoneinfo/UTC",
        os.__file__,
        os.path.join(sysconfig.get_paths()["purelib"], "x", "data.csv"),
        os.path.join(sys.prefix, "share", "x"),
        os.path.expanduser("~/.cache/x/y"),
        os.path.expanduser("~/.netrc"),
        "/data/lib.so",
        "/data/site-packages/x/data.csv",
    ],
)
def test_what_the_system_and_its_libraries_keep_is_no_input(paths: Paths, path: str) -> None:
    assert not paths.counts(path)


@pytest.mark.parametrize("path", ["/data/x.csv", "/mnt/x", "/usr/share/dict/words", "/x.csv"])
def test_other_files_are(paths: Paths, path: str) -> None:
    assert paths.counts(path)


@pytest.mark.parametrize("prefix", ["/usr", "/usr/local"])
def test_so_are_they_beside_a_python_of_the_system(
    prefix: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("prefix", "base_prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, prefix)
    paths = Paths(str(project / "flows"), str(project))
    assert paths.counts(f"{prefix}/share/words")
    assert not paths.counts(f"{prefix}/lib/python3/x.txt")


@pytest.mark.parametrize("name", ["x.csv", "flows/x.csv", ".env", "flows/.hidden/x"])
def test_all_files_of_the_project_are(paths: Paths, project: Path, name: str) -> None:
    assert paths.counts(str(project / name))


@pytest.mark.parametrize("name", ["flows/.metaflow/x", "flows/__pycache__/x.json", "a.pyc"])
def test_but_for_those_that_are_made_for_it(paths: Paths, project: Path, name: str) -> None:
    assert not paths.counts(str(project / name))


def test_libraries_that_a_link_leads_to_are_no_inputs(paths: Paths, project: Path) -> None:
    os.symlink(sysconfig.get_paths()["purelib"], project / "libraries")
    assert not paths.counts(str(project / "libraries" / "x" / "data.csv"))


def test_names_are_relative_to_the_flow_inside_the_project_only(
    paths: Paths, project: Path
) -> None:
    assert paths.name(str(project / "flows" / "a")) == "a"
    assert paths.name(str(project / "data" / "a")) == "../data/a"
    assert paths.name("/data/a") == "/data/a"


def test_names_lead_back(paths: Paths, project: Path) -> None:
    for path in (str(project / "flows" / "a"), str(project / "data" / "a"), "/data/a"):
        assert paths.path(paths.name(path)) == path


def test_folders_are_walked_from_the_flow_on(paths: Paths, project: Path) -> None:
    put("flows/in/x")
    put("data/x")
    put(".git/x")
    put("env/pyvenv.cfg")
    put("node_modules/x")
    found = paths.folders(100).found
    assert found[0] == str(project / "flows")
    assert {os.path.relpath(each, project) for each in found} == {"flows", ".", "flows/in", "data"}


def test_folders_are_walked_only_so_far(paths: Paths) -> None:
    for i in range(10):
        put(f"flows/{i}/x")
    folders = paths.folders(5)
    assert len(folders.found) == 5
    assert not folders.whole


def test_links_in_a_ring_end(paths: Paths, project: Path) -> None:
    put("flows/in/x")
    os.symlink(project, project / "flows" / "in" / "up")
    os.symlink("self", project / "flows" / "self")
    assert len(paths.folders(100).found) == 3
