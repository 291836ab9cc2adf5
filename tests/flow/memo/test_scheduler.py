"""The scheduler's decision in process: a hit answers the task, a miss is handed to its worker."""

from __future__ import annotations

import json
from typing import Any

import pytest
from metaflow.plugins.datastores.local_storage import LocalStorage

from memoflow.errors import BackendUnavailableError, BackendUnreachableError
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.memo import scheduler
from memoflow.flow.memo.lookup import MissError


def handed(cli_args: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(cli_args.env["MEMOFLOW_TOLD"])
    return told


def decision(cli_args: Any) -> dict[str, Any] | None:
    text = handed(cli_args)["decision"]
    return None if text is None else json.loads(text)


def test_a_hit_runs_no_worker(host, record):
    record(host.memoized(), host.left(x=1), "x")
    launched = host.launched()
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    answered = launched.task.answer
    assert answered.wait() == 0
    assert answered.stdout.read().startswith(b"[memoize] hit")
    assert answered.stderr.read() == b""
    assert "MEMOFLOW_TOLD" not in launched.env


def test_a_hit_that_cannot_be_written_down_is_left_to_the_worker(host, record, monkeypatch):
    record(host.memoized(), host.left(x=1), "x")
    launched = host.launched()
    with monkeypatch.context() as patch:
        patch.setattr(host.metadata, "register_metadata", broken)
        scheduler.prepare(launched, 0, host.memoized(), host.session)
    assert launched.task.answer.wait() == 1
    assert b"could not be written down: ValueError: 500" in launched.task.answer.stdout.read()
    assert host.session.log.hits == []
    again = host.launched()
    scheduler.prepare(again, 0, host.memoized(), host.session)
    assert decision(again)["reason"] == "not_written"
    assert set(host.session.log.misses) == {"2"}


def broken(*_: Any) -> None:
    raise ValueError("500")


def test_what_others_take_for_a_finished_task_is_written_last(host, record, monkeypatch):
    record(host.memoized(), host.left(x=1), "x")
    written: list[str] = []
    storage = host.datastore._storage_impl
    save, register = storage.save_bytes, host.metadata.register_metadata

    def saved(pairs: Any, **options: Any) -> None:
        def each() -> Any:
            for path, content in pairs:
                written.append(path.rpartition("/")[2])
                yield path, content

        save(each(), **options)

    def registered(run: str, step: str, task: str, data: list[Any]) -> None:
        written.extend(datum.field for datum in data)
        register(run, step, task, data)

    monkeypatch.setattr(storage, "save_bytes", saved)
    monkeypatch.setattr(host.metadata, "register_metadata", registered)
    scheduler.prepare(host.launched(), 0, host.memoized(), host.session)
    order = ["0.data.json", "0.DONE.lock", "memo-origin", "attempt-done", "attempt_ok"]
    assert [each for each in written if each in order] == order
    assert written[-1] == "attempt_ok"


def test_the_runtime_need_not_open_what_a_hit_left(host, record, monkeypatch):
    record(host.memoized(), host.left(x=1), "x", y=3)
    launched = host.launched()
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    monkeypatch.setattr(LocalStorage, "is_file", None)
    monkeypatch.setattr(LocalStorage, "load_bytes", None)
    left = launched.task._results_ds
    assert left["_transition"] == (["end"], None)
    assert left["_foreach_stack"] == []
    assert "y" in left


def test_a_hit_of_a_resumed_run_says_which(host, record):
    record(host.memoized(), host.left(x=1), "x")
    launched = host.launched()
    launched.task.clone_run_id = "0"
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    noted = host.metadata.fields["2"]
    assert noted["origin-run-id"] == "0"
    assert "origin-task-id" not in noted


def test_a_hit_leaves_what_the_task_would_have_left(host, record):
    record(host.memoized(), host.left(x=1, z="kept"), "x", y=3)
    scheduler.prepare(host.launched(), 0, host.memoized(), host.session)
    left = TaskArtifacts(host.datastore.get_task_datastore("1", "fit", "2"))
    assert [left.load(name) for name in ("x", "y", "z")] == [1, 3, "kept"]
    assert left.load("_task_ok") is True
    assert left.load("_transition") == (["end"], None)


def test_a_hit_is_noted_with_its_origin(host, record):
    ref = record(host.memoized(), host.left(x=1), "x")
    scheduler.prepare(host.launched(), 0, host.memoized(), host.session)
    noted = host.metadata.fields["2"]
    assert (noted["memo-origin"], noted["memo-key"]) == ("Train/0/fit/9", str(ref.key))


def test_a_hit_counts_with_the_time_it_saved(host, record):
    record(host.memoized(), host.left(x=1), "x")
    scheduler.prepare(host.launched(), 0, host.memoized(), host.session)
    assert host.session.log.hits == [("Train", "1", "fit", "2", 2.0)]
    assert host.session.log.misses == {}


def test_a_hit_uses_all_that_led_to_it(host, record):
    ref = record(host.memoized(), host.left(x=1), "x")
    index = host.store.index
    index.record((entry.ref for entry in index.entries().values()), is_used=False)
    scheduler.prepare(host.launched(), 0, host.memoized(), host.session)
    entries = host.session.context.store.index.entries(host.memoized().code_key)
    used = {key for key, entry in entries.items() if entry.was_used}
    assert str(ref.key) in used
    assert used == entries.keys()


def test_further_hits_ask_for_no_read_set_again(host, record):
    record(host.memoized(), host.left(x=1), "x")
    memoized = host.memoized()
    scheduler.prepare(host.launched("2"), 0, memoized, host.session)
    reads = host.session.context.store.backend.root / "refs" / "memo"
    for path in list(reads.rglob("reads/*")):
        path.unlink()
    scheduler.prepare(host.launched("3"), 0, memoized, host.session)
    assert len(host.session.log.hits) == 2


def test_a_miss_is_handed_to_the_worker_with_its_reason(host):
    host.left(x=1)
    launched = host.launched()
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    assert not hasattr(launched.task, "answer")
    assert decision(launched)["reason"] == "first_run"
    assert handed(launched)["began"] == host.session.log.began
    assert set(host.session.log.misses) == {"2"}
    assert host.session.log.missed["fit"].line == "first run"


def test_a_task_that_its_worker_is_to_look_up_is_no_miss_yet(host, record):
    record(host.memoized(), host.left(x=1), "x")
    memoized = host.memoized(audit=1.0)
    launched = host.launched()
    scheduler.prepare(launched, 0, memoized, host.session)
    assert decision(launched) is None
    assert host.session.log.misses == {}


def test_only_forbids_a_miss(host):
    host.left(x=1)
    with pytest.raises(MissError, match="first run"):
        scheduler.prepare(host.launched(), 0, host.memoized(mode="only"), host.session)


def test_only_allows_a_hit(host, record):
    record(host.memoized(), host.left(x=1), "x")
    scheduler.prepare(host.launched(), 0, host.memoized(mode="only"), host.session)
    assert len(host.session.log.hits) == 1


def test_trouble_in_a_lookup_runs_the_step(host):
    launched = host.launched()  # after a task that has left nothing
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    assert launched.get_args() == ["python", "flow.py"]
    assert decision(launched)["reason"] == "lookup_failed"
    assert "lookup failed, steps run as usual" in host.said[0]


@pytest.mark.parametrize("error", [BackendUnreachableError, BackendUnavailableError])
def test_a_store_that_does_not_answer_is_asked_once(error, host):
    host.left(x=1)

    def fails(*_: Any, **__: Any) -> Any:
        raise error("the server does not answer")

    host.session.context.store.backend.list = fails
    for task in "23":
        launched = host.launched(task)
        scheduler.prepare(launched, 0, host.memoized(), host.session)
        assert handed(launched)["off"] is True
    assert len(host.said) == 1


def test_without_a_store_the_worker_is_told_nothing_of_the_code(host):
    host.left(x=1)
    host.session.context.cut_off()
    launched = host.launched()
    scheduler.prepare(launched, 0, host.memoized(), host.session)
    assert handed(launched)["seen"] is None
    assert decision(launched)["reason"] == "off"
