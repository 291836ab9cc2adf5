"""The state of a process: the log of a run, what is read in bulk, and the store."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.errors import BackendUnreachableError, UsageError
from memoflow.flow import artifact_store
from memoflow.flow.memo.context import ScopePrefetch, Session, session_of
from memoflow.flow.memo.run_log import RunLog
from memoflow.flow.memo.store_context import StoreContext
from memoflow.kinds.decision import Decision, Reason
from memoflow.masking import ANY
from memoflow.names import Key

CODE_KEY = Key.of("memo", "Train", "fit", "abc")


class Bulk:
    """A store that notes which prefixes were read in bulk."""

    def __init__(self) -> None:
        self.read: list[Key] = []
        self.remembered = self

    def prefetch(self, prefix: Key) -> list[Any]:
        self.read.append(prefix)
        return []


class Artifacts:
    """The artifacts of a bucket, of which none are asked for."""

    def look_ahead(self, wanted: set[str], *, tasks: int) -> None:
        assert (wanted, tasks) == (set(), 0)


def prefetch(store: Any) -> ScopePrefetch:
    context: Any = SimpleNamespace(store=store, artifacts=Artifacts())
    made = ScopePrefetch(context)
    made.is_on = True
    return made


def test_results_are_read_in_bulk_once_a_minute():
    store = Bulk()
    made = prefetch(store)
    for _ in range(3):
        made.read(CODE_KEY)
    made.read(CODE_KEY / "other")
    assert store.read == [CODE_KEY, CODE_KEY / "other"]


def test_a_worker_reads_nothing_in_bulk():
    store = Bulk()
    made = prefetch(store)
    made.is_on = False
    made.read(CODE_KEY)
    assert store.read == []


def test_the_end_of_a_run_reads_anew_what_it_has_read_before():
    store = Bulk()
    made = prefetch(store)
    made.read(CODE_KEY)
    made.leave_bundles()
    assert store.read == [CODE_KEY, CODE_KEY]


def test_a_step_that_is_never_cached_is_news_once_for_each_reason():
    log = RunLog()
    reads, code = (
        Decision.miss(reason) for reason in (Reason.NOT_CACHEABLE, Reason.NO_FINGERPRINT)
    )
    said = [log.is_news("fit", each) for each in (reads, reads, code)] + [log.is_news("end", reads)]
    assert said == [True, False, True, True]


def test_the_last_miss_of_each_step_is_kept():
    log = RunLog()
    for task, reason in (("1", Reason.FIRST_RUN), ("2", Reason.EVICTED)):
        log.add_miss("fit", task, Decision.miss(reason))
    assert set(log.misses) == {"1", "2"}
    assert log.missed["fit"].reason is Reason.EVICTED


def test_a_process_has_one_session(host):
    one = session_of(host.datastore, print)
    assert session_of(host.datastore, print) is one


def test_a_forked_process_has_its_own_session(host, monkeypatch):
    one = session_of(host.datastore, print)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert session_of(host.datastore, print) is not one


@pytest.fixture
def context(host) -> StoreContext:
    found: StoreContext = host.session.context
    return found


def test_a_store_that_cannot_be_had_is_said_once(host, monkeypatch):
    def refuse(*_: Any) -> Any:
        raise UsageError("there is no such place")

    monkeypatch.setattr(artifact_store, "of_datastore", refuse)
    context = Session(host.datastore, lambda line, **_: host.said.append(line)).context
    assert context.store is None
    assert context.store is None
    assert host.said == ["[memoize] off: there is no such place"]
    assert not context.is_cut_off


def test_without_its_server_a_run_goes_on_without_the_store(context, host):
    context.cut_off(BackendUnreachableError("the server does not answer"))
    context.cut_off(BackendUnreachableError("the server does not answer"))
    assert context.is_cut_off
    assert context.store is None
    assert context.mask_key() == b""
    assert host.said == ["[memoize] off: the server does not answer"]


def test_passwords_in_addresses_are_not_said(context, host):
    context.say("cannot reach https://me:secret@host/x")
    assert "secret" not in host.said[0]


def test_results_under_a_code_key_are_read_by_one_reader(context):
    assert context.candidates(CODE_KEY, ANY) is context.candidates(CODE_KEY, ANY)
    assert context.candidates(CODE_KEY / "x", ANY) is not context.candidates(CODE_KEY, ANY)


def test_a_finished_task_is_opened_once(context, host):
    host.left(x=1)
    (one,) = context.tasks.open(["1/start/1"])
    assert context.tasks.open(["1/start/1"]) == [one]
    assert one["x"] == 1


def test_what_metaflow_and_memoflow_keep_is_no_input(context, host):
    context.store = host.store
    inside = os.path.join(host.datastore.datastore_root, "Train", "data", "ab")
    own = os.path.join(host.store.backend.root, "refs")
    assert [context.paths.counts(path) for path in (inside, own)] == [False, False]


def test_digests_of_passwords_are_keyed_by_the_store(context, host):
    assert context.mask_key() == host.store.id.encode()
