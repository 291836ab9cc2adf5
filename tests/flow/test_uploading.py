"""Uploads of saves without waiting: failures, and the signals of forked processes.

Each test has a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

from tests.waiting import PATIENCE_S

PREPARED = """
    import os, threading
    from memoflow.flow.spool import uploading

    class Store:
        id = "s"

    class Entry:
        size_bytes, series, place = 1, "series", "folder"

        def __init__(self, key, upload):
            self.key, self.upload = key, upload

    uploader = uploading.Uploader()
    outcomes = []

    def drain():
        try:
            uploader.drain()
            outcomes.append("done")
        except Exception as error:
            outcomes.append(type(error).__name__)

    def drain_by_two():
        threads = [threading.Thread(target=drain, daemon=True) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(30)
        print(outcomes, [each.is_alive() for each in threads], flush=True)
        os._exit(0)
"""


def said(*code: str) -> str:
    whole = "".join(map(textwrap.dedent, (PREPARED, *code)))
    done = subprocess.run(
        [sys.executable, "-c", whole],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_each_of_two_that_wait_is_told_of_a_failure() -> None:
    assert (
        said("""
            started = threading.Barrier(2)

            def fail(store):
                if not started.broken:
                    try:
                        started.wait(0.5)
                    except threading.BrokenBarrierError:
                        pass
                raise OSError("down")

            for key in ("a", "b"):
                uploader.add(Store, Entry(key, fail), lambda outcome: None)
            drain_by_two()
        """)
        == "['BackendError', 'BackendError'] [False, False]"
    )


def test_what_fails_after_an_upload_holds_up_no_other() -> None:
    assert (
        said("""
            def last_number(store, series):
                raise RuntimeError("can't start new thread")

            uploading.checkpoint.last_number = last_number
            for key in ("a", "b"):
                uploader.add(Store, Entry(key, lambda store: None), lambda outcome: None)
            drain_by_two()
        """)
        == "['done', 'done'] [False, False]"
    )


FORKING = """
    import signal

    def fork_and_end():
        # 7 is of a child that ends by itself.
        ours, theirs = os.pipe()
        process = os.fork()
        if not process:
            os.read(ours, 1)  # The signal has been sent by then.
            for _ in range(1000):
                pass
            os._exit(7)
        os.kill(process, signal.SIGTERM)
        os.write(theirs, b"!")
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
"""


def test_a_process_that_is_told_to_end_when_it_was_just_forked_ends() -> None:
    assert (
        said(
            FORKING,
            """
            uploading.watch_for_sigterm()
            print({fork_and_end() for _ in range(200)}, flush=True)
            os._exit(0)
            """,
        )
        == "{-15}"
    )


def test_a_forked_process_has_the_handler_that_its_parent_had_before() -> None:
    assert (
        said(
            FORKING,
            """
            signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
            uploading.watch_for_sigterm()
            print(fork_and_end(), flush=True)
            os._exit(0)
            """,
        )
        == "3"
    )


def test_a_process_that_has_forked_is_still_told_to_end() -> None:
    assert (
        said(
            FORKING,
            """
            parent = os.getpid()

            def end(*_):
                print("told" * (os.getpid() == parent), end="", flush=True)
                os._exit(0)

            signal.signal(signal.SIGTERM, end)
            uploading.watch_for_sigterm()
            fork_and_end()
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass
            """,
        )
        == "told"
    )
