"""Whoever waits for uploads is told when they fail, however many wait; each in a process."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PREPARED = """
    import os, threading
    from memoflow.flow.spool import uploading

    class Store:
        id = "s"

    class Entry:
        size_bytes, series, folder = 1, "series", "folder"

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


def said(code: str) -> str:
    whole = textwrap.dedent(PREPARED) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, timeout=100, check=False
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
