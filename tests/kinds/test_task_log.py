"""The log of the task that computed a result: bounded, in order, and bound to that result."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from memoflow.fingerprint import Fingerprint, Part
from memoflow.kinds import memo, retention, task_log
from memoflow.kinds.task_log import MOST_BYTES, Line, TaskLog
from memoflow.names import Ref
from memoflow.store import Payload, Store, open_store

CODE = (Part("code", "train()", "1", "train.py:4"),)
CODE_KEY = memo.code_key("Sweep", "fit", Fingerprint.of(CODE))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


@pytest.fixture
def result(store: Store) -> Ref:
    return record(store)


def record(store: Store, seed: str = "1") -> Ref:
    inputs = (Part("input", "seed", seed),)
    return memo.record(
        store, CODE_KEY, CODE, memo.Result("Sweep/1/fit/2", 1.5, {}, {"_foreach_var": None}, inputs)
    )


def log_of(*lines: Line) -> TaskLog:
    log = TaskLog()
    for stream, line in lines:
        log.add(stream, line)
    return log


def kept(store: Store, result: Ref, *lines: Line) -> list[Line]:
    task_log.keep(store, result.key, result.digest, log_of(*lines))
    return task_log.find(store, result.key, result.digest)


def text(lines: list[Line], stream: str = "stdout") -> bytes:
    return b"".join(line for name, line in lines if name == stream)


@pytest.mark.parametrize(
    "lines",
    [
        [("stdout", b"a\n")],
        [("stderr", b"only\n"), ("stderr", b"stderr\n")],
        [("stderr", b"1\n"), ("stdout", b"2\n"), ("stdout", b"3\n"), ("stderr", b"4\n")],
        [("stdout", b"1%\r2%\r3%\n"), ("stderr", b"\x1b[31m\xff\x00\n"), ("stdout", b"no end")],
        [("stdout", b"\n"), ("stdout", b"\n"), ("stderr", b"\n")],
        [("stdout", "grüße \N{SNOWMAN}\n".encode()), ("stdout", b"x" * 5000 + b"\n")],
    ],
)
def test_lines_come_back_as_they_were_and_in_order(
    store: Store, result: Ref, lines: list[Line]
) -> None:
    assert kept(store, result, *lines) == lines


def test_of_a_task_that_printed_nothing_nothing_is_kept(store: Store, result: Ref) -> None:
    before = store.keys()
    assert kept(store, result) == []
    assert store.keys() == before


def test_lines_of_memoflows_own_are_left_out(store: Store, result: Ref) -> None:
    lines = ("stdout", b"[memoize] miss: first run\n"), ("stdout", b"mine\n")
    assert kept(store, result, *lines) == [("stdout", b"mine\n")]


def test_a_stream_of_a_mebibyte_is_kept_whole(store: Store, result: Ref) -> None:
    lines: list[Line] = [("stdout", b"%015d\n" % number) for number in range(MOST_BYTES // 16)]
    assert kept(store, result, *lines) == lines
    line = b"x" * (MOST_BYTES - 1) + b"\n"
    assert text(log_of(("stdout", line)).lines) == line


def test_of_a_longer_one_the_beginning_and_the_end_are(store: Store, result: Ref) -> None:
    count = 3 * MOST_BYTES // 16
    lines: list[Line] = [("stdout", b"%015d\n" % number) for number in range(count)]
    found = kept(store, result, ("stderr", b"first\n"), *lines, ("stderr", b"last\n"))
    assert found[0] == ("stderr", b"first\n")
    assert found[-1] == ("stderr", b"last\n")
    out = text(found).splitlines(keepends=True)
    middle = out.index(b"[memoize] 2.1 MB of the log left out here\n")
    assert out[:middle] == [line for _, line in lines[:middle]]
    assert out[middle + 1 :] == [line for _, line in lines[-(len(out) - middle - 1) :]]
    assert len(text(found)) == pytest.approx(MOST_BYTES, abs=100)
    assert text(found, "stderr") == b"first\nlast\n"


def test_a_line_that_never_ends_is_cut_in_its_middle(store: Store, result: Ref) -> None:
    found = kept(store, result, ("stdout", b"a" * MOST_BYTES + b"b" * MOST_BYTES))
    head, marker, tail = text(found).split(b"\n")
    assert (head, tail) == (b"a" * (MOST_BYTES // 2), b"b" * (MOST_BYTES // 2))
    assert marker == b"[memoize] 1.0 MB of the log left out here"


def test_very_many_empty_lines_are_as_few_as_metaflow_keeps() -> None:
    log = log_of(*[("stdout", b"\n")] * 300_000)
    assert len(log.lines) == 100_001


def test_equal_logs_are_stored_once(store: Store, result: Ref) -> None:
    other = record(store, seed="2")
    lines: list[Line] = [("stdout", b"epoch %d\n" % number) for number in range(1000)]
    blobs = store.backend.list
    kept(store, result, *lines)
    before = {each.name for each in blobs("blobs")}
    assert kept(store, other, *lines) == lines
    assert {each.name for each in blobs("blobs")} == before


def test_a_log_is_of_its_result_alone(store: Store, result: Ref) -> None:
    """A number comes again once what had it is forgotten."""
    kept(store, result, ("stdout", b"old\n"))
    store.forget(result.key)
    again = memo.record(
        store,
        CODE_KEY,
        CODE,
        memo.Result(
            "Sweep/7/fit/2", 2.5, {}, {"_foreach_var": None}, (Part("input", "seed", "1"),)
        ),
    )
    assert again.key == result.key
    assert task_log.find(store, again.key, again.digest) == []
    assert kept(store, again, ("stdout", b"new\n")) == [("stdout", b"new\n")]


def test_it_goes_with_its_result(store: Store, result: Ref) -> None:
    kept(store, result, ("stdout", b"x\n"))
    other = record(store, seed="2")
    kept(store, other, ("stdout", b"y\n"))
    log = task_log.key(result.key)
    assert memo.orphans(store) == []
    assert memo.orphans(store, [result.key]) == [log]
    store.forget(result.key)
    retention.tidy(store, keep_newer=timedelta(0))
    assert store.find(log) is None
    assert task_log.find(store, other.key, other.digest) == [("stdout", b"y\n")]


@pytest.mark.parametrize(
    "files",
    [
        {"order": b"[1,"},
        {"order": b"{}"},
        {"order": b'["a"]'},
        {"order": b"[-1, 9999999999999]"},
        {"order": b"[" * 100_000},
        {"order": b"\xff"},
        {"order": b"5"},
    ],
)
def test_a_foreign_order_costs_the_order_alone(
    store: Store, result: Ref, files: dict[str, bytes]
) -> None:
    both = {"stdout": b"a\nb\n", "stderr": b"c\n"}
    meta = {"result": str(result.digest)}
    store.save(task_log.key(result.key), Payload(files=both | files), meta=meta)
    found = task_log.find(store, result.key, result.digest)
    assert (text(found), text(found, "stderr")) == (both["stdout"], both["stderr"])


def test_a_foreign_log_that_is_far_too_large_is_none(store: Store, result: Ref) -> None:
    meta = {"result": str(result.digest)}
    store.save(task_log.key(result.key), Payload(files={"stdout": bytes(5 << 20)}), meta=meta)
    assert task_log.find(store, result.key, result.digest) == []


def test_one_that_lost_its_bytes_is_none(store: Store, result: Ref, tmp_path: Path) -> None:
    kept(store, result, ("stdout", b"x" * 5000))
    for blob in (tmp_path / "store" / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    assert task_log.find(store, result.key, result.digest) == []
