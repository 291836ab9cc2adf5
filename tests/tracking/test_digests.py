"""Digests of files: read once for as long as a file is as it was, and never trusted too early."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from memoflow.tracking import FileDigests, State, UnreadableError, state_of
from tests.tracking.cases import put, settle
from tests.unprivileged import as_nobody
from tests.waiting import PATIENCE_S


class Opened:
    """How often files were opened to be read, as an audit hook sees it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.is_on = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_on and event == "open":
            self.paths.append(str(arguments[0]))


_opened = Opened()


@pytest.fixture
def opened() -> Iterator[list[str]]:
    _opened.paths.clear()
    _opened.is_on = True
    yield _opened.paths
    _opened.is_on = False


@pytest.fixture
def known() -> dict[str, str]:
    return {}


@pytest.fixture
def digests(known: dict[str, str]) -> FileDigests:
    return of(known)


def of(known: dict[str, str], said: list[str] | None = None) -> FileDigests:
    return FileDigests(
        lambda names: {name: known[name] for name in names if name in known},
        known.update,
        (said if said is not None else []).append,
    )


def now(path: str) -> State:
    state = state_of(path)
    assert state is not None
    return state


def test_equal_content_has_one_digest(project: Path, digests: FileDigests) -> None:
    put("a")
    put("b")
    put("c", "new!")
    found = [digests.of_content(name, now(name)) for name in "abc"]
    assert found[0] == found[1] != found[2]


def test_a_file_that_was_read_is_not_read_again(
    project: Path, known: dict[str, str], opened: list[str]
) -> None:
    put("a")
    settle()
    first = of(known).of_content("a", now("a"))
    opened.clear()
    assert of(known).of_content("a", now("a")) == first
    assert opened == []


@pytest.mark.parametrize("margin_ns", [0, 10_000_000])
def test_a_file_as_young_as_its_digest_is_read_again(
    project: Path, known: dict[str, str], margin_ns: int
) -> None:
    put("a")
    settle()
    state = now("a")
    of(known).of_content("a", state)
    name, fact = next(iter(known.items()))
    began = fact.split(", ")[3]
    known[name] = fact.replace(began, str(max(state[4:]) + margin_ns)).replace("xxh3:", "xxh3:lie")
    assert "lie" not in of(known).of_content("a", state)


def test_a_rewrite_with_the_old_times_put_back_is_seen(
    project: Path, known: dict[str, str]
) -> None:
    put("a")
    settle()
    before = now("a")
    first = of(known).of_content("a", before)
    put("a", "new")
    os.utime("a", ns=(before.modified_ns, before.modified_ns))
    assert now("a").modified_ns == before.modified_ns
    assert of(known).of_content("a", now("a")) != first


def test_another_link_to_a_file_shares_its_digest(
    project: Path, known: dict[str, str], opened: list[str]
) -> None:
    put("a")
    os.link("a", "b")
    settle()
    first = of(known).of_content("a", now("a"))
    opened.clear()
    assert of(known).of_content("b", now("b")) == first
    assert opened == []


def test_a_file_that_may_not_be_read_has_none(project: Path) -> None:
    put("a").chmod(0)
    project.chmod(0o755)
    for folder in project.parents:
        if os.stat(folder).st_uid == os.getuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)

    def read() -> None:
        with pytest.raises(UnreadableError, match="cannot be read"):
            of({}).of_content(str(project / "a"), now(str(project / "a")))

    as_nobody(read)


def test_a_file_that_changes_while_it_is_read_has_none(project: Path) -> None:
    put("a")
    state = now("a")
    put("a", "longer")
    with pytest.raises(UnreadableError, match="changed while it was read"):
        of({}).of_content("a", state)


def test_a_pipe_is_not_waited_for(project: Path) -> None:
    os.mkfifo("a")
    done = threading.Event()

    def read() -> None:
        with pytest.raises(UnreadableError, match="no regular file"):
            of({}).of_content("a", now("a"))
        done.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(PATIENCE_S)
    assert done.is_set()


def test_a_file_with_holes_is_read_as_one_without(project: Path, digests: FileDigests) -> None:
    with open("a", "wb") as file:
        file.truncate(3_000_000)
    Path("b").write_bytes(bytes(3_000_000))
    assert digests.of_content("a", now("a")) == digests.of_content("b", now("b"))


def test_the_code_in_a_file_counts_without_comments(project: Path, digests: FileDigests) -> None:
    put("a.py", "X = 1\n")
    put("b.py", "X = 1  # the same\n")
    put("c.py", "X = 2\n")
    a, b, c = (digests.of_code(name, now(name)) for name in ("a.py", "b.py", "c.py"))
    assert a == b != c


def test_a_file_that_is_no_code_has_no_digest_of_code(project: Path, digests: FileDigests) -> None:
    put("a.py", "X = \n")
    with pytest.raises(UnreadableError, match="no Python code"):
        digests.of_code("a.py", now("a.py"))


def test_facts_that_cannot_be_read_are_none(project: Path, known: dict[str, str]) -> None:
    put("a")
    settle()
    first = of(known).of_content("a", now("a"))
    for name in known:
        known[name] = "[1, 2"
    assert of(known).of_content("a", now("a")) == first


def test_many_files_are_looked_up_at_once(project: Path) -> None:
    asked: list[int] = []
    digests = FileDigests(lambda names: asked.append(len(names)) or {}, lambda facts: None)
    for i in range(50):
        put(f"{i}")
    states = [now(f"{i}") for i in range(50)]
    digests.expect([*states, None])
    assert asked == [50]
