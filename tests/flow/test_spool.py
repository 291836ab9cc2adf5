"""Saving without waiting: at once, in order, bounded, never lost in silence."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memoflow.errors import BackendError, MemoflowError, UsageError
from memoflow.flow import references
from memoflow.flow.cards.card_page import page
from memoflow.flow.spool import spool, uploading
from tests.faults import SystemFaults
from tests.said import kept_in
from tests.spooling import SERIES, Gate, Task, stored, task
from tests.waiting import PATIENCE_S, until

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Closed at first; whatever a test leaves behind it gets through at its end."""
    gate = Gate()
    yield gate
    gate.fails = False
    gate.open()
    for _ in range(2):  # Perhaps one to raise what went wrong.
        with contextlib.suppress(MemoflowError):
            uploading.drain()


@pytest.fixture
def here(tmp_path: Path, gate: Gate) -> Task:
    return task(tmp_path, gate)


@pytest.fixture
def there(tmp_path: Path, here: Task) -> Task:
    """The same task's next attempt on another machine."""
    return task(tmp_path, machine="there", attempt=1)


def in_background(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def waits(thread: threading.Thread) -> bool:
    thread.join(0.3)
    return thread.is_alive()


# At once


def test_it_returns_while_the_store_takes_no_ref(here: Task, tmp_path: Path) -> None:
    here.save("one")
    here.save("two")
    assert stored(tmp_path) == []


def test_what_it_returns_is_what_a_later_listing_says(here: Task, there: Task, gate: Gate) -> None:
    reference = here.save("one", metadata={"epoch": 1, "loss": float("inf")})
    gate.open()
    here.checkpointer.finish()
    assert there.checkpointer.list(full_namespace=False) == [reference]


def test_what_it_returns_is_plain_json(here: Task) -> None:
    reference = here.save("one", metadata={"epoch": 1})
    assert json.loads(json.dumps(reference)) == reference


def test_what_is_saved_is_as_it_was_when_it_returned(here: Task, gate: Gate) -> None:
    reference = here.save("one")
    (here.folder / "state.txt").write_text("written on")
    gate.open()
    assert here.read(reference) == "one"


def test_it_keeps_what_a_tree_has(here: Task, gate: Gate, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "empty").mkdir(parents=True)
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "run").write_text("#!")
    (tree / "deep" / "er" / "run").chmod(0o755)
    (tree / "link").symlink_to("deep/er/run")
    options: Any = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
    reference = here.checkpointer.save(tree, **options, wait=False)
    gate.open()
    into = tmp_path / "into"
    references.load(here.checkpointer.where, reference, into, writable=True)
    assert (
        (into / "empty").is_dir(),
        os.access(into / "deep" / "er" / "run", os.X_OK),
        os.readlink(into / "link"),
    ) == (True, True, "deep/er/run")


def test_on_a_local_store_it_returns_while_that_takes_no_ref(tmp_path: Path, gate: Gate) -> None:
    one = task(tmp_path, gate, is_local=True)
    reference = one.save("one")
    assert stored(tmp_path) == []
    gate.open()
    assert one.read(reference) == "one"


def test_what_cannot_be_saved_is_an_error_at_once(here: Task) -> None:
    (here.folder / "round").symlink_to("round")
    options: Any = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
    with pytest.raises(UsageError, match="round in circles"):
        here.checkpointer.save(here.folder, **options, wait=False)


def test_what_grows_while_it_is_copied_is_a_beginning_of_it(
    here: Task, gate: Gate, tmp_path: Path
) -> None:
    log, stop = here.folder / "log", threading.Event()
    log.write_text("0\n")

    def append() -> None:
        while not stop.wait(0.0005):
            with open(log, "a") as file:
                file.write("more\n" * 100)

    thread = in_background(append)
    options: Any = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
    gate.open()
    try:
        found = [here.checkpointer.save(here.folder, **options, wait=False) for _ in range(5)]
        here.checkpointer.finish()
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    for number, reference in enumerate(found):
        out = tmp_path / f"out-{number}"
        references.load(here.checkpointer.where, reference, out, writable=True)
        assert log.read_bytes().startswith((out / "log").read_bytes())
        assert (out / "log").stat().st_size == reference["size"]


def test_patterns_leave_files_out_of_what_is_uploaded_later(
    here: Task, gate: Gate, tmp_path: Path
) -> None:
    (here.folder / "a.tmp").write_text("not wanted")
    (here.folder / "b").write_text("wanted")
    options: Any = {"name": "c", "metadata": None, "latest": True, "storage_format": "files"}
    gate.open()
    reference = here.checkpointer.save(
        here.folder, **options, wait=False, ignore_patterns=["*.tmp"]
    )
    references.load(here.checkpointer.where, reference, tmp_path / "out", writable=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]


@pytest.mark.parametrize("patterns", ["*.tmp", [""], [1], {"*": 1}])
def test_patterns_that_are_none_are_told(here: Task, patterns: Any) -> None:
    with pytest.raises(UsageError, match="ignore_patterns"):
        here.save("one", ignore_patterns=patterns)


def test_without_room_on_this_machine_it_waits(
    here: Task, gate: Gate, tmp_path: Path, system_faults: SystemFaults
) -> None:
    gate.open()
    system_faults.fail_at("copy_file_range", nth=1, code=errno.ENOSPC)
    here.save("one")
    assert len(stored(tmp_path)) == 1


def test_without_room_on_this_machine_it_says_so(
    here: Task, gate: Gate, system_faults: SystemFaults, caplog: pytest.LogCaptureFixture
) -> None:
    gate.open()
    system_faults.fail_at("copy_file_range", nth=1, code=errno.ENOSPC)
    here.save("one")
    (line,) = caplog.messages
    assert "saved while the task waits" in line
    assert "No space left" in line


# In order, bounded


def test_uploads_go_in_order(here: Task, gate: Gate) -> None:
    keys = [here.save("one")["key"], here.save("two")["key"]]
    gate.open()
    keys += [here.save("three")["key"]]
    uploading.drain()
    assert gate.refs == [key.rpartition("/")[2] for key in keys]


def test_numbers_go_up_before_anything_is_uploaded(here: Task) -> None:
    assert [here.save("one")["version_id"], here.save("two")["version_id"]] == [0, 1]


def test_numbers_go_on_from_what_another_machine_saved(here: Task, there: Task) -> None:
    there.save("one", wait=True)
    there.save("two", wait=True)
    assert here.save("three")["version_id"] == 2


def test_a_third_waits_for_room(here: Task, gate: Gate) -> None:
    here.save("one")
    here.save("two")
    third = in_background(lambda: here.save("three"))
    assert waits(third)
    gate.open()
    third.join(PATIENCE_S)
    assert not third.is_alive()


def test_one_waits_for_room_that_would_hold_too_much(
    here: Task, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "MOST_PENDING_BYTES", 10)
    here.save("more than ten bytes")
    second = in_background(lambda: here.save("two"))
    assert waits(second)
    gate.open()
    second.join(PATIENCE_S)


def test_a_save_that_waits_comes_after_what_was_saved_before(here: Task, gate: Gate) -> None:
    first = here.save("one")
    threading.Timer(0.1, gate.open).start()
    second = here.save("two", wait=True)
    assert gate.refs == [one["key"].rpartition("/")[2] for one in (first, second)]


def test_no_other_machine_sees_what_is_not_wholly_there(
    here: Task, there: Task, gate: Gate
) -> None:
    here.save("one")
    assert gate.arrived.acquire(timeout=PATIENCE_S)  # All but the ref is there.
    assert list(there.checkpointer.of_scope()) == []


@pytest.fixture
def default_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memos may refer to checkpoints, so that is where `keep_last` looks for them."""
    (tmp_path / ".metaflow").mkdir()
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("default_store")
def test_keep_last_counts_what_is_there(gate: Gate, tmp_path: Path) -> None:
    gate.open()
    one = task(tmp_path, gate, keep_last=2)
    keys = [one.save(f"{number}")["key"] for number in range(5)]
    uploading.drain()
    assert stored(tmp_path) == [key.rpartition("/")[2] for key in keys[-2:]]


@pytest.mark.usefixtures("default_store")
def test_keep_last_removes_nothing_for_one_that_is_on_its_way(gate: Gate, tmp_path: Path) -> None:
    one = task(tmp_path, gate, keep_last=1)
    gate.open()
    first = one.save("one")
    uploading.drain()
    gate.close()
    one.save("two")
    assert stored(tmp_path) == [first["key"].rpartition("/")[2]]


# In the same process


def test_a_list_waits_for_what_is_on_its_way(here: Task, gate: Gate) -> None:
    reference = here.save("one")
    threading.Timer(0.1, gate.open).start()
    assert here.checkpointer.list(full_namespace=False) == [reference]


def test_a_load_waits_for_what_is_on_its_way(here: Task, gate: Gate) -> None:
    reference = here.save("one")
    threading.Timer(0.1, gate.open).start()
    assert here.read(reference) == "one"


def test_a_key_alone_is_enough_to_wait(here: Task, gate: Gate) -> None:
    reference = here.save("one")
    threading.Timer(0.1, gate.open).start()
    assert here.read(reference["key"]) == "one"


def test_one_that_is_deleted_on_its_way_is_gone(here: Task, gate: Gate, tmp_path: Path) -> None:
    reference = here.save("one")
    threading.Timer(0.1, gate.open).start()
    assert references.delete(here.checkpointer.where, reference)
    assert stored(tmp_path) == []


def test_the_next_key_is_after_what_is_on_its_way(here: Task) -> None:
    here.save("one")
    assert here.checkpointer.key() == here.save("two")["key"]


def test_nothing_is_left_on_this_machine_once_it_is_uploaded(here: Task, gate: Gate) -> None:
    gate.open()
    here.save("one")
    uploading.drain()
    assert list(spool.pending(here.checkpointer.where.store)) == []


# Errors


def test_what_cannot_be_uploaded_is_raised_by_the_next_save(here: Task, gate: Gate) -> None:
    gate.open()
    here.backend.fail_at("write")
    here.save("one")
    settled()
    with pytest.raises(BackendError, match=r"saved without waiting, and could not be stored"):
        here.save("two")


def test_what_cannot_be_uploaded_is_raised_at_the_end(here: Task, gate: Gate) -> None:
    gate.open()
    gate.fails = True
    here.save("one")
    with pytest.raises(BackendError, match="on purpose"):
        here.checkpointer.finish()


def test_the_end_tries_once_more(here: Task, gate: Gate, tmp_path: Path) -> None:
    gate.open()
    here.backend.fail_at("write")
    here.save("one")
    settled()
    here.checkpointer.finish()
    assert len(stored(tmp_path)) == 1


def test_nothing_overtakes_what_cannot_be_uploaded(here: Task, gate: Gate, tmp_path: Path) -> None:
    gate.open()
    gate.fails = True
    here.save("one")
    settled()
    with pytest.raises(BackendError):
        here.save("two")
    with pytest.raises(BackendError):
        here.save("three", wait=True)
    assert stored(tmp_path) == []


def test_what_failed_is_uploaded_when_the_user_goes_on(here: Task, gate: Gate) -> None:
    gate.open()
    here.backend.fail_at("write")
    here.save("one")
    settled()
    with pytest.raises(BackendError):
        here.save("two")
    here.save("three")
    assert [here.read(each) for each in here.checkpointer.list(full_namespace=False)] == [
        "three",
        "one",
    ]


def test_the_journal_says_what_is_on_its_way(here: Task) -> None:
    here.save("one")
    assert [act.why for act in here.checkpointer.journal.acts] == ["not uploaded yet"]


def test_the_journal_says_what_was_uploaded(here: Task, gate: Gate) -> None:
    here.save("x" * 5000)
    gate.open()
    uploading.drain()
    (act,) = here.checkpointer.journal.acts
    assert (act.why, act.new_bytes) == ("without waiting", 5000)


def test_the_journal_says_what_could_not_be_uploaded(here: Task, gate: Gate) -> None:
    gate.open()
    gate.fails = True
    here.save("one")
    settled()
    (act,) = here.checkpointer.journal.acts
    assert act.why == "not stored: write failed on purpose"


def test_the_card_does_not_take_what_is_on_its_way_for_deduplicated(here: Task) -> None:
    here.save("one")
    acts = here.checkpointer.journal.acts
    shown = page(acts, {}, began=acts[0].began, ended=acts[0].began + 1)
    assert "not uploaded yet" in shown
    assert "deduplicated" not in shown


def settled() -> None:
    """Wait until the thread has nothing more that it could do."""
    for one in list(uploading.of_this_process()._pending):
        assert one.settled.wait(PATIENCE_S)


# Other processes


CHILD = """
    import os, signal, sys, time
    from pathlib import Path
    from memoflow.flow.spool import uploading
    from tests.spooling import Gate, task

    folder = Path(sys.argv[1])
    gate = Gate(folder / "hold")
    gate.open()
    one = task(folder, gate)
    def saved(*texts):
        return [one.save(text)["key"] for text in texts]
    def wait(seconds=60):
        print("READY", flush=True)
        time.sleep(seconds)
"""


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """While this file is there, other processes write no refs."""
    file = tmp_path / "hold"
    file.touch()
    return file


@contextlib.contextmanager
def child(folder: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script until it prints READY or ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD) + textwrap.dedent(script), str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "READY\n":
                break
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def attempt(folder: Path, machine: str = "here") -> tuple[Task, list[str]]:
    """Return the next attempt, as it is before its load policy looks, and what it said."""
    one, said = task(folder, machine=machine, attempt=1), list[str]()
    one.checkpointer.bring_in(kept_in(said))
    return one, said


def texts(one: Task) -> list[str]:
    return [one.read(str(each.ref.key)) for each in one.checkpointer.of_task()]


def killed(folder: Path, script: str) -> None:
    with child(folder, script) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)


def test_after_a_kill_the_next_attempt_has_what_was_committed(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one', 'two'); wait()")
    assert stored(tmp_path) == []
    assert texts(attempt(tmp_path)[0]) == ["two", "one"]


def test_the_next_attempt_says_what_it_uploaded(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    _, said = attempt(tmp_path)
    assert said == [
        f"Uploaded {SERIES}/{stored(tmp_path)[0]}, which an attempt had left on this machine"
    ]


def test_after_a_kill_another_machine_has_nothing(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    assert texts(attempt(tmp_path, "there")[0]) == []


def test_ending_at_once_loses_nothing(tmp_path: Path, held: Path) -> None:
    with child(tmp_path, "saved('one'); os._exit(0)") as process:
        process.wait(PATIENCE_S)
    assert texts(attempt(tmp_path)[0]) == ["one"]


def test_what_a_live_process_has_is_left_to_it(tmp_path: Path, held: Path) -> None:
    with child(tmp_path, "saved('one'); wait()"):
        attempt(tmp_path)
        assert stored(tmp_path) == []


def test_a_copy_that_was_cut_short_is_no_save(tmp_path: Path, held: Path) -> None:
    killed(
        tmp_path,
        """
        saved("one")
        folder = next(Path(folder).glob("here/memoflow/spool/*/*/*/0*"))
        unfinished = folder.with_name("00000002-abcdef01") / "tree"
        unfinished.mkdir(parents=True)
        (unfinished / "state.txt").write_text("tw")
        wait()
        """,
    )
    assert texts(attempt(tmp_path)[0]) == ["one"]
    assert list(tmp_path.glob("here/memoflow/spool/*/*")) == []


def test_a_copy_from_before_a_restart_is_not_believed(
    tmp_path: Path, held: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed(tmp_path, "saved('one'); wait()")
    (about,) = tmp_path.glob("here/memoflow/spool/*/*/*/*/about.json")
    about.write_text(json.dumps(json.loads(about.read_text()) | {"boot": "the one before"}))
    assert texts(attempt(tmp_path)[0]) == []
    assert "was lost: this machine was restarted" in caplog.text


def test_one_that_cannot_be_uploaded_keeps_no_other_back(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one', 'two'); wait()")
    (first,) = tmp_path.glob("here/memoflow/spool/*/*/*/00000001-*/tree/state.txt")
    first.unlink()
    assert texts(attempt(tmp_path)[0]) == ["two"]


def test_what_others_left_and_cannot_be_uploaded_fails_no_task(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    one = task(tmp_path, Gate(fails=True), attempt=1)
    one.checkpointer.finish()
    assert stored(tmp_path) == []


def test_what_a_subprocess_left_and_cannot_be_uploaded_fails_its_task(
    tmp_path: Path, held: Path
) -> None:
    killed(tmp_path, "saved('one'); wait()")
    parent = task(tmp_path, Gate(fails=True))
    with pytest.raises(BackendError, match="on purpose"):
        parent.checkpointer.finish()


def test_the_end_of_a_process_uploads_the_rest(tmp_path: Path) -> None:
    with child(tmp_path, "saved('one', 'two')") as process:
        assert process.wait(PATIENCE_S) == 0
    assert len(stored(tmp_path)) == 2


def test_a_task_uploads_at_its_end_what_a_killed_subprocess_saved(
    tmp_path: Path, held: Path
) -> None:
    killed(tmp_path, "saved('one'); wait()")
    parent = task(tmp_path)
    parent.checkpointer.finish()
    assert len(stored(tmp_path)) == 1


def test_another_process_waits_for_what_it_loads(tmp_path: Path, held: Path) -> None:
    with child(tmp_path, "print(*saved('one')); wait()"):
        parent = task(tmp_path)
        ((entry, _),) = spool.pending(parent.checkpointer.where.store)
        threading.Timer(0.3, held.unlink).start()
        assert parent.read(str(entry.key)) == "one"


def test_another_process_that_saves_takes_a_higher_number(tmp_path: Path, held: Path) -> None:
    with child(tmp_path, "saved('one', 'two'); wait()"):
        assert task(tmp_path).save("three", wait=True)["version_id"] == 2


def test_a_fork_saves_for_itself(tmp_path: Path) -> None:
    script = """
        saved("parent")
        if os.fork() == 0:
            saved("child")
            uploading.drain()
            os._exit(0)
        os.wait()
        saved("parent again")
    """
    with child(tmp_path, script) as process:
        assert process.wait(PATIENCE_S) == 0
    assert sorted(texts(task(tmp_path))) == ["child", "parent", "parent again"]


def test_a_fork_and_its_parent_never_save_under_one_key(tmp_path: Path) -> None:
    one = task(tmp_path)
    foretold = one.checkpointer.key()
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, one.checkpointer.key().encode())
        os._exit(0)
    os.wait()
    assert foretold != os.read(read, 1000).decode()
    assert one.save("parent", wait=True)["key"] == foretold


def test_a_fork_does_not_keep_its_dead_parent_alive(tmp_path: Path, held: Path) -> None:
    script = """
        saved("one")
        if os.fork() == 0:
            wait()
        time.sleep(60)
    """
    killed(tmp_path, script)
    assert texts(attempt(tmp_path)[0]) == ["one"]


# SIGTERM


def terminated(
    folder: Path, held: Path, script: str, *, says: bool = True
) -> subprocess.Popen[str]:
    with child(folder, script) as process:
        process.send_signal(signal.SIGTERM)
        if says:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("[@checkpoint] SIGTERM: uploading ")
        held.unlink()
        process.wait(PATIENCE_S)
    return process


def test_on_sigterm_all_is_uploaded(tmp_path: Path, held: Path) -> None:
    terminated(tmp_path, held, "saved('one', 'two'); wait()")
    assert len(stored(tmp_path)) == 2


def test_on_sigterm_the_newest_does_not_wait_for_the_others(tmp_path: Path, held: Path) -> None:
    # The gate holds the first one back for good, by its number.
    script = """
        class First(Gate):
            def __call__(self, name):
                if "/00000001-" in name:
                    super().__call__(name)
        first = First(folder / "hold")
        first.open()
        one = task(folder, first)
        one.save("one"), one.save("two")
        first.arrived.acquire()
        wait()
    """
    with child(tmp_path, script) as process:
        process.send_signal(signal.SIGTERM)
        until(lambda: stored(tmp_path))
        assert [name[:8] for name in stored(tmp_path)] == ["00000002"]


def test_after_sigterm_the_process_dies_of_it(tmp_path: Path, held: Path) -> None:
    process = terminated(tmp_path, held, "saved('one'); wait()")
    assert process.returncode == -signal.SIGTERM


def test_a_handler_of_the_users_has_its_say_afterwards(tmp_path: Path, held: Path) -> None:
    script = """
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        saved('one'); wait()
    """
    process = terminated(tmp_path, held, script)
    assert (process.returncode, len(stored(tmp_path))) == (7, 1)


def test_where_sigterm_is_ignored_the_task_goes_on(tmp_path: Path, held: Path) -> None:
    script = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        saved('one'); wait(2); os._exit(5)
    """
    assert terminated(tmp_path, held, script, says=False).returncode == 5


def test_a_second_sigterm_does_not_wait(tmp_path: Path, held: Path) -> None:
    with child(tmp_path, "saved('one'); wait()") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("[@checkpoint] SIGTERM: uploading 1 ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == -signal.SIGTERM
    assert stored(tmp_path) == []


# What nobody comes back for


def aged(folder: Path, days: float) -> None:
    """Make what lies on this machine that much older."""
    for about in folder.glob("here/memoflow/spool/*/*/*/*/about.json"):
        fields = json.loads(about.read_text())
        fields["created"] -= days * 86400
        about.write_text(json.dumps(fields))
    for process in folder.glob("here/memoflow/spool/*/*/*"):
        past = time.time() - days * 86400
        os.utime(process, (past, past))


def collected(one: Task) -> list[str]:
    said: list[str] = []
    spool.collect(one.checkpointer.where.store, kept_in(said))
    return said


def test_what_a_task_left_today_is_left_to_its_next_attempt(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    collected(task(tmp_path))
    assert stored(tmp_path) == []


def test_what_a_task_left_yesterday_is_uploaded(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    aged(tmp_path, days=1.5)
    said = collected(task(tmp_path))
    assert len(stored(tmp_path)) == 1
    assert len(said) == 1


def test_what_cannot_be_uploaded_is_kept_for_a_week(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    aged(tmp_path, days=6)
    one = task(tmp_path, Gate(fails=True))
    collected(one)
    assert len(list(tmp_path.glob("here/memoflow/spool/*/*/*/0*"))) == 1


def test_after_a_week_it_is_given_up_with_a_line(tmp_path: Path, held: Path) -> None:
    killed(tmp_path, "saved('one'); wait()")
    aged(tmp_path, days=8)
    one = task(tmp_path, Gate(fails=True))
    assert "gave up on" in collected(one)[-1]
    assert list(tmp_path.glob("here/memoflow/spool/*/*/*")) == []
