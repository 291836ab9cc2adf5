"""Files as they are at the lookup: touched, replaced, linked, gone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.stories.conftest import Project
from tests.stories.mutations.harness import Act, Case, World


def same_stat(path: str, text: str) -> Act:
    """Return an act that writes a file of the same size and puts its times back."""

    def act(project: Project) -> None:
        file = project.folder / path
        before = file.stat()
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    return act


def replaced(path: str, text: str) -> Act:
    """Return an act that moves a file of another inode there, with the times of the old one."""

    def act(project: Project) -> None:
        file = project.folder / path
        before = file.stat()
        new = file.with_suffix(".new")
        new.write_text(text)
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.replace(file)

    return act


def link(path: str, target: str) -> Act:
    def act(project: Project) -> None:
        place = project.folder / path
        place.unlink(missing_ok=True)
        place.symlink_to(target)

    return act


def on(path: str, do: Callable[[Path], object]) -> Act:
    return lambda project: do(project.folder / path)


def touch(path: Path) -> None:
    os.utime(path, ns=(1_000_000_000, 1_000_000_000))


STATES = [
    Case(
        "same_times",
        "open('times.txt').read()",
        r"file times\.txt changed",
        files={"times.txt": "1"},
        change=same_stat("times.txt", "2"),
        restore=same_stat("times.txt", "1"),
    ),
    Case(
        "older_file_moved_there",
        "open('moved.txt').read()",
        r"file moved\.txt changed",
        files={"moved.txt": "1"},
        change=replaced("moved.txt", "2"),
        restore=replaced("moved.txt", "1"),
    ),
    Case(
        "link_retargeted",
        "open('latest/data.txt').read()",
        r"file .*data\.txt changed",
        files={"v1/data.txt": "1", "v2/data.txt": "2"},
        prepare=link("latest", "v1"),
        change=link("latest", "v2"),
        restore=link("latest", "v1"),
    ),
    Case(
        "link_to_the_same_text",
        "open('current.txt').read()",
        files={"old.txt": "1", "new.txt": "1"},
        prepare=link("current.txt", "old.txt"),
        change=link("current.txt", "new.txt"),
        restore=link("current.txt", "old.txt"),
    ),
    Case(
        "where_a_link_leads",
        "os.readlink('pointer')",
        "pointer",
        prepare=link("pointer", "v1"),
        change=link("pointer", "v2"),
        restore=link("pointer", "v1"),
    ),
    Case(
        "touched",
        "open('touched.txt').read()",
        files={"touched.txt": "1"},
        change=on("touched.txt", touch),
    ),
    Case(
        "written_again",
        "open('again.txt').read()",
        files={"again.txt": "1"},
        then={"again.txt": "1"},
    ),
    Case(
        "replaced_by_an_equal",
        "open('equal.txt').read()",
        files={"equal.txt": "1"},
        change=replaced("equal.txt", "1"),
    ),
    Case(
        "other_mode",
        "open('mode.txt').read()",
        files={"mode.txt": "1"},
        change=on("mode.txt", lambda path: path.chmod(0o600)),
    ),
    Case(
        "neighbour_changed",
        "open('near/mine.txt').read()",
        files={"near/mine.txt": "1", "near/other.txt": "1"},
        then={"near/other.txt": "2", "near/third.txt": "3"},
    ),
    Case(
        "gone",
        "open('leaves.txt').read() if os.path.exists('leaves.txt') else 'none'",
        r"file leaves\.txt is gone",
        files={"leaves.txt": "1"},
        then={"leaves.txt": None},
    ),
    Case(
        "only_by_mood",
        """
        got = open("switch.txt").read().strip()
        if got == "on":
            got += open("rare.txt").read()
        """,
        files={"switch.txt": "off", "rare.txt": "1"},
        then={"rare.txt": "2"},
    ),
    Case(
        "another_file_chosen",
        "open(open('choice.txt').read().strip()).read()",
        r"file choice\.txt changed",
        files={"choice.txt": "one.dat", "one.dat": "1", "two.dat": "2"},
        then={"choice.txt": "two.dat"},
    ),
    Case(
        "emptied",
        "open('full.txt').read()",
        r"file full\.txt changed",
        files={"full.txt": "1"},
        then={"full.txt": ""},
    ),
]

WORLDS = [World("states", STATES)]
