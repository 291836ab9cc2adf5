"""The world: what was read is asked again, by names that hold in another checkout."""

# ruff: noqa: SIM115 (how files are opened is what is tested)

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from memoflow.fingerprint import Part
from memoflow.tracking import Paths, World
from tests.tracking.cases import NOTHING, Case, put, settle
from tests.tracking.test_digests import Opened

_opened = Opened()


def test_to_ask_again_opens_no_file(case: Case) -> None:
    for i in range(100):
        put(f"d/{i}")
    settle()
    case.run(lambda: [Path(f"d/{i}").read_text() for i in range(100)])
    assert len(case.reads.parts) == 100
    _opened.paths.clear()
    _opened.is_on = True
    try:
        assert case.world.differs(case.reads.parts) is None
    finally:
        _opened.is_on = False
    assert _opened.paths == []


def test_files_that_were_only_touched_are_read_once_more(case: Case) -> None:
    for i in range(20):
        put(f"d/{i}")
    settle()
    case.run(lambda: [Path(f"d/{i}").read_text() for i in range(20)])
    for i in range(20):
        os.utime(f"d/{i}")
    settle()
    counts = []
    for _ in range(2):
        _opened.paths.clear()
        _opened.is_on = True
        assert case.world.differs(case.reads.parts) is None
        _opened.is_on = False
        counts.append(len(_opened.paths))
    assert counts == [20, 0]


def test_another_checkout_finds_the_same(case: Case, tmp_path: Path) -> None:
    put("d/a")
    os.symlink("d", "link")

    def act() -> None:
        Path("d/a").read_text()
        Path(os.path.abspath("d/a")).read_text()
        os.listdir(os.path.abspath("d"))
        os.path.exists("absent")
        os.readlink("link")

    case.run(act)
    shutil.copytree(case.project, tmp_path / "other", symlinks=True)
    other = str(tmp_path / "other")
    world = World(Paths(other, other), case.digests, b"secret", os.environ)
    assert world.differs(case.reads.parts) is None
    put(str(tmp_path / "other" / "d" / "b"))
    assert world.differs(case.reads.parts) is not None


def test_another_key_gives_a_variable_another_digest(case: Case) -> None:
    one = World(case.paths, case.digests, b"one", {"REGION": "a"})
    two = World(case.paths, case.digests, b"two", {"REGION": "a"})
    assert one.variable("REGION", "a").digest != two.variable("REGION", "a").digest


def test_a_file_that_may_no_longer_be_read_differs(case: Case) -> None:
    put("a")
    case.run(lambda: open("a").read())
    os.unlink("a")
    os.mkdir("a")
    assert case.differs() == "file a"


def test_a_long_listing_is_kept_in_part(case: Case) -> None:
    for i in range(2000):
        put(f"d/{i:08}", "")
    case.run(lambda: os.listdir("d"))
    (part,) = case.reads.parts
    assert len(part.summary) < 5000
    assert part.summary.endswith("...")


def test_reads_of_a_kind_are_found_by_name(case: Case) -> None:
    put("a")
    digest = "xxh3:0"
    assert case.world.now([Part("file", "a", digest)])[0].name == "a"


@pytest.mark.parametrize("name", ["a", "d/a"])
def test_names_are_those_from_the_base(case: Case, name: str) -> None:
    assert case.paths.name(str(case.project / name)) == name
    assert case.paths.path(name) == str(case.project / name)


def test_a_process_that_is_still_running_is_no_trouble(case: Case) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    case.run(lambda: processes.append(subprocess.Popen(["sleep", "30"])))
    processes[0].kill()
    processes[0].wait()
    assert case.differs() == NOTHING
