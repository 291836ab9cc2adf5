"""Of many who want a name one gets it, whatever the file system knows of links and renames."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memoflow.backends import Local
from memoflow.backends.exclusive import WAYS, Way, by_link, by_lock, by_look, by_rename, way_of
from tests.faults import SystemFaults
from tests.mounts import UnmountableError, mounted
from tests.waiting import PATIENCE_S

EXCLUSIVE = [by_link, by_rename, by_lock]
NAMES, WRITERS = 40, 4

WRITER = """
import sys, time
from pathlib import Path
from memoflow.backends import Local, exclusive

root, way, me, names, start = Path(sys.argv[1]), *sys.argv[2:]
backend = Local(root, ways=exclusive.WAYS if way == "all" else [getattr(exclusive, way)])
while time.time() < float(start):
    pass
for number in range(int(names)):
    if backend.write(f"refs/{number}", me.encode() * 3000, if_absent=True, durable=False):
        print(number)
"""


def won_by_each(root: Path, way: str) -> list[list[int]]:
    """Return the names that each of several processes was told it got."""
    start = str(time.time() + 1.5)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root), way, str(me), str(NAMES), start],
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in range(WRITERS)
    ]
    return [list(map(int, child.communicate(timeout=PATIENCE_S)[0].split())) for child in children]


def check_each_name_was_given_once(root: Path, won: list[list[int]]) -> None:
    assert sorted(name for names in won for name in names) == list(range(NAMES))
    backend = Local(root)
    for me, names in enumerate(won):
        assert all(backend.read(f"refs/{name}") == b"%d" % me * 3000 for name in names)


@pytest.mark.parametrize("way", EXCLUSIVE)
def test_of_processes_that_want_equal_names_one_gets_each(tmp_path: Path, way: Way) -> None:
    check_each_name_was_given_once(tmp_path, won_by_each(tmp_path, way.__name__))


def test_so_it_is_on_a_file_system_without_links_and_exclusive_renames(tmp_path: Path) -> None:
    try:
        with mounted(tmp_path / "disk", "exfat") as place:
            assert way_of(str(place)) is by_lock
            check_each_name_was_given_once(place / "store", won_by_each(place / "store", "all"))
    except UnmountableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("way", [*EXCLUSIVE, by_look])
def test_what_has_a_name_stays_whatever_the_way(tmp_path: Path, way: Way) -> None:
    backend = Local(tmp_path, ways=[way])
    assert backend.write("a", b"first", if_absent=True) is True
    assert backend.write("a", b"second", if_absent=True) is False
    assert backend.read("a") == b"first"
    assert [path.name for path in tmp_path.rglob("*") if ".tmp" in path.name] == []


@pytest.mark.parametrize("way", [*EXCLUSIVE, by_look])
def test_an_empty_folder_has_no_name_whatever_the_way(tmp_path: Path, way: Way) -> None:
    (tmp_path / "a").mkdir()
    backend = Local(tmp_path, ways=[way])
    assert backend.write("a", b"first", if_absent=True) is True
    assert backend.read("a") == b"first"


@pytest.mark.parametrize(
    "code", [errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EINVAL, errno.EMLINK]
)
def test_however_a_file_system_says_that_it_cannot_link(
    tmp_path: Path, system_faults: SystemFaults, code: int
) -> None:
    backend = Local(tmp_path)
    backend.write("there", b"")
    system_faults.fail_at("link", nth=1, code=code)
    assert backend.write("a", b"first", if_absent=True) is True
    assert system_faults.fired
    system_faults.relent()
    system_faults.fail_at("link", nth=1, code=code)
    assert backend.write("a", b"second", if_absent=True) is False
    assert backend.read("a") == b"first"


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of a store."""
    code = (
        "import fcntl, sys, time\n"
        "file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
        child.kill()


def test_the_lock_goes_when_its_holder_dies(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    assert Local(tmp_path, ways=[by_lock]).write("a", b"data", if_absent=True) is True


def test_others_than_who_made_it_can_take_the_lock(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    Local(tmp_path, ways=[by_lock]).write("a", b"", if_absent=True)
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o660


def test_a_way_is_found_by_trying_and_leaves_nothing(tmp_path: Path) -> None:
    assert way_of(str(tmp_path)) is WAYS[0]
    assert os.listdir(tmp_path) == []
