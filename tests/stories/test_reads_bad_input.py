"""Reads that cannot be put into a key as they are: a clear line and a run, never a failure."""

from __future__ import annotations

import os
import re
import threading
import time

import pytest

from tests.stories.mutations import harness
from tests.stories.mutations.flows import run as run_of
from tests.stories.mutations.harness import Case, Told, World
from tests.stories.world import built_once

NAMES = 20_000  # 100,000 on request

LOOPED = """
    def attempted(name):
        try:
            return open(name).read()
        except OSError as error:
            return type(error).__name__
"""


def links(project):
    folder = project.folder
    (folder / "a_directory").mkdir()
    (folder / "dangling").symlink_to("nowhere.txt")
    (folder / "loop").symlink_to("loop_back")
    (folder / "loop_back").symlink_to("loop")


def fill(project):
    folder = project.folder / "crowd"
    folder.mkdir()
    for number in range(NAMES):
        (folder / f"{number}.txt").touch()


def feed(project):
    """Write to a named pipe for as long as a run may read it."""
    os.mkfifo(project.folder / "pipe")

    def write():
        for _ in range(10):
            with open(project.folder / "pipe", "w") as pipe:
                pipe.write("1")
            time.sleep(0.2)

    threading.Thread(target=write, daemon=True).start()


# What there is to read is strange, and the same each time: to hit or to run is right for most.
STRANGE = [
    Case("directory_for_a_file", "attempted('a_directory')", head=LOOPED, prepare=links),
    Case("dangling_link", "attempted('dangling')", "nowhere|dangling", then={"nowhere.txt": "1"}),
    Case("loop_of_links", "attempted('loop')"),
    Case("name_too_long", "attempted('x' * 5000)"),
    Case("name_with_a_zero", "os.path.exists('a\\0b')"),
    Case(
        "name_that_is_not_text",
        "open(b'not-\\xff-text.txt').read()",
        r"file not-.*changed",
        prepare=lambda project: _raw(project, "1"),
        change=lambda project: _raw(project, "2"),
        restore=lambda project: _raw(project, "1"),
    ),
    Case("crowd", "len(os.listdir('crowd'))", r"directory crowd.* (new|changed)", prepare=fill,
         then={"crowd/new.txt": ""}),
    Case("pattern_of_nothing", "glob.glob('[')", then={"x.txt": ""}),
    Case(
        "variable_that_is_not_text",
        "len(os.environb[b'NOT_TEXT'])",
        "environment variable NOT_TEXT changed",
        env={"NOT_TEXT": "a\udcffb"},
        then_env={"NOT_TEXT": "a\udcfe"},
    ),
    Case("closed_handle", "attempted(10**6)"),
    Case("empty_name", "attempted('')"),
    Case("below_a_file", "attempted('x_file/y')", "x_file", files={"x_file": "1"},
         then={"x_file": None}, either=True),
    Case("long_line", "len(open('big.json').read()) > 0", r"file big\.json changed",
         files={"big.json": "1" * 300_000}, then={"big.json": "2" * 300_000}),
    Case("name_with_an_escape", "open('red\\x1b[31m.txt').read()", r"file red.*changed",
         files={"red\x1b[31m.txt": "1"}, then={"red\x1b[31m.txt": "2"}),
    Case("name_with_a_newline", "open('two\\nlines.txt').read()", r"file two.*changed",
         files={"two\nlines.txt": "1"}, then={"two\nlines.txt": "2"}),
]  # fmt: skip

STRANGE_WORLD = World("strange", STRANGE)


def _raw(project, text):
    with open(os.fsencode(project.folder) + b"/not-\xff-text.txt", "w") as file:
        file.write(text)


@pytest.fixture
def told(request, tmp_path_factory) -> Told:
    built = built_once(tmp_path_factory, "world-strange", STRANGE_WORLD.build)
    return Told(built, request.param)


def each(fits):
    chosen = [pytest.param(case, id=case.name) for case in STRANGE if fits(case)]
    return pytest.mark.parametrize("told", chosen, indirect=True)


@pytest.mark.parametrize("told", STRANGE[:1], indirect=True)
@pytest.mark.parametrize("run", ["cold", "warm", "changed", "back"])
def test_nothing_that_a_step_reads_fails_a_run(told, run):
    assert told.world["runs"][run]["code"] == 0, told
    assert "Traceback" not in told.world["runs"][run]["text"], told


@each(lambda case: True)
def test_a_step_that_reads_strange_things_leaves_what_it_would(told):
    assert told.value("kept") == told.value("plain"), told


@each(lambda case: True)
def test_a_step_that_reads_strange_things_hits(told):
    assert told.hit("warm", origin="cold"), told


@each(lambda case: case.says and not case.either)
def test_a_change_of_a_strange_thing_is_named(told):
    assert told.missed("changed", told.case.says), told


@pytest.mark.parametrize("told", STRANGE[:1], indirect=True)
def test_a_name_cannot_write_to_the_terminal(told):
    for run in told.world["runs"].values():
        assert "\x1b[31m" not in run["text"]


@pytest.fixture
def odd(project):
    """A flow of one step, whose body is given; it returns what the step did in each run."""

    def go(body, *between, head="", runs=2):
        world = World("odd", [])
        project.write("flow.py", world.flow([Case("odd", body, head=head)]))
        seen = []
        for number in range(runs):
            if number and between:
                between[number - 1](project)
            seen.append(harness._run(project, {}, ()))
            assert seen[-1]["code"] == 0, seen[-1]["text"]
        return seen

    return go


def lines(run):
    return [line for line in run["lines"]["odd"] if line.startswith("[memoize]")]


def test_a_named_pipe_makes_a_step_run_each_time_with_a_line(project, odd):
    feed(project)
    first, second = odd("open('pipe').read()")
    assert "odd" in second["workers"]
    assert any(re.search(r"\bpipe\b", line) for line in lines(first)), lines(first)


def test_a_named_pipe_in_the_place_of_a_file_is_a_miss_and_no_lookup_waits_for_it(project, odd):
    project.write("was_file.txt", "1")

    def replace(project):
        (project.folder / "was_file.txt").unlink()
        os.mkfifo(project.folder / "was_file.txt")

    body = """
    import stat
    if stat.S_ISFIFO(os.stat("was_file.txt").st_mode):
        got = "pipe"
    else:
        got = open("was_file.txt").read()
    """
    _, second = odd(body, replace)
    assert any(re.search(r"miss: .*was_file\.txt", line) for line in lines(second)), lines(second)


def test_a_file_that_changes_all_the_time_fails_nothing(project, odd):
    path = project.write("busy.txt", "0" * 5_000_000)
    done = threading.Event()

    def write():
        number = 0
        while not done.is_set():
            with open(path, "r+") as file:
                file.write(str(number := number + 1))
            time.sleep(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        first, second = odd("len(open('busy.txt').read())")
    finally:
        done.set()
        writer.join()
    assert "odd" in second["workers"]
    assert any("busy.txt" in line for run in (first, second) for line in lines(run))


def test_a_file_that_another_writes_while_the_step_runs_is_never_taken_for_the_old_one(
    project, odd
):
    project.write("late.txt", "old")
    body = """
    got = open("late.txt").read()
    subprocess.run([sys.executable, "other.py"], check=True)
    """
    project.write("other.py", "open('late.txt', 'w').write('new')\n")
    odd(body)
    answer = "answer = [run.data.of_odd for run in Flow('World')]"
    assert project.ask(answer) == ["new", "old"]


def test_a_directory_that_is_gone_is_a_miss_that_says_so(project, odd):
    project.write("listed/a.csv", "1")

    def remove(project):
        (project.folder / "listed/a.csv").unlink()
        (project.folder / "listed").rmdir()

    _, second = odd("sorted(glob.glob('listed/*'))", remove)
    assert any(re.search(r"miss: directory listed.* gone", line) for line in lines(second)), lines(
        second
    )


def test_a_file_in_place_of_a_directory_is_a_miss(project, odd):
    project.write("tree/a.csv", "1")

    def replace(project):
        (project.folder / "tree/a.csv").unlink()
        (project.folder / "tree").rmdir()
        project.write("tree", "1")

    _, second = odd("sorted(glob.glob('tree/*'))", replace)
    assert any(re.search(r"miss: .*\btree\b", line) for line in lines(second)), lines(second)


def test_a_client_expression_whose_run_is_gone_is_a_miss_that_names_it(project, odd):
    run_of("Train", v=1)(project)
    body = """
    from metaflow import Flow
    from metaflow.exception import MetaflowNotFound
    try:
        got = Flow("Train").latest_successful_run.data.v
    except (MetaflowNotFound, AttributeError):
        got = "gone"
    """

    def remove(project):
        os.rename(project.folder / ".metaflow/Train", project.folder / "Train.kept")

    _, second = odd(body, remove)
    assert any(re.search(r"miss: .*Train", line) for line in lines(second)), lines(second)
    assert project.ask("answer = Flow('World').latest_run.data.of_odd") == "gone"


def test_a_file_that_nobody_may_read_is_named_and_fails_nothing(project, odd):
    if os.geteuid() == 0:
        pytest.skip("root may read all files")
    project.write("closed.txt", "1")

    def close(project):
        (project.folder / "closed.txt").chmod(0)

    _, second = odd("open('closed.txt').read() if os.access('closed.txt', 4) else 'no'", close)
    assert any("closed.txt" in line for line in lines(second)), lines(second)


@pytest.mark.stress
def test_a_large_file_is_hashed_once_with_a_line(project, odd):
    size = 10 * 2**30
    with open(project.folder / "large.bin", "wb") as file:
        file.truncate(size)
    first, second = odd("with open('large.bin', 'rb') as f:\n    got = len(f.read(10))")
    assert any("large.bin" in line for line in lines(first)), lines(first)
    assert not any("large.bin" in line for line in lines(second)), lines(second)
    assert "odd" not in second["workers"]


@pytest.mark.stress
def test_a_directory_of_100_000_names_is_one_line(project, odd):
    folder = project.folder / "crowd"
    folder.mkdir()
    for number in range(100_000):
        (folder / f"{number}.txt").touch()
    _, second, third = odd(
        "len(os.listdir('crowd'))",
        lambda project: None,
        lambda project: (folder / "new.txt").touch(),
        runs=3,
    )
    assert "odd" not in second["workers"]
    # Of so many names not all are kept, so it need not be known which is new.
    assert any("miss: directory crowd" in line for line in lines(third)), lines(third)
