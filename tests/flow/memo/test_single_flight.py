"""The single-flight lock: one holder a key, told to children, let go when nothing will come."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from memoflow.errors import BackendError, BackendUnreachableError
from memoflow.flow.memo.single_flight import LEASES, SingleFlightLock
from memoflow.names import Key
from memoflow.store import Store, open_store

KEYS = [Key.of("memo", "Train", "fit", name) for name in ("a", "b")]


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv(LEASES, "")
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def held(store: Store) -> int:
    return len(list(store.backend.list("leases")))


def test_all_keys_are_held_until_it_is_closed(store):
    lock = SingleFlightLock()
    lock.take(store, KEYS, who="Train/1/fit/2", is_done=lambda: False)
    assert held(store) == 2
    assert len(os.environ[LEASES].split()) == 2
    lock.close()
    lock.take(store, KEYS, who="Train/1/fit/3", is_done=lambda: False)  # waits for nobody
    lock.close()


def test_work_that_is_done_is_not_locked(store):
    lock = SingleFlightLock()
    lock.take(store, KEYS, who="Train/1/fit/2", is_done=lambda: True)
    assert os.environ[LEASES] == ""
    lock.close()


def test_a_key_is_asked_for_only_once_the_one_before_it_is_held(store):
    asked = []

    def keys() -> Iterator[Key]:
        for key in KEYS:
            asked.append(key)
            yield key

    SingleFlightLock().take(store, keys(), who="Train/1/fit/2", is_done=lambda: True)
    assert asked == KEYS[:1]


def test_a_lifted_lock_keeps_nobody_waiting(store):
    first, second = SingleFlightLock(), SingleFlightLock()
    first.take(store, KEYS, who="Train/1/fit/2", is_done=lambda: False)
    os.environ[LEASES] = ""
    first.lift(lasting=True)
    first.close()
    second.take(store, KEYS, who="Train/2/fit/2", is_done=lambda: False)
    assert os.environ[LEASES] == ""
    second.close()


def test_a_process_of_the_holder_s_waits_for_it_never(store):
    first, inner = SingleFlightLock(), SingleFlightLock()
    first.take(store, KEYS, who="Train/1/fit/2", is_done=lambda: False)
    inner.take(store, KEYS, who="Inner/1/fit/2", is_done=lambda: False)
    first.close()
    inner.close()


def test_without_a_lease_the_task_goes_on(store, capsys):
    store.backend.write = failing(BackendError("no space"))
    lock = SingleFlightLock()
    lock.take(store, KEYS, who="Train/1/fit/2", is_done=lambda: False)
    assert "going on without a lease: no space" in capsys.readouterr().out


def test_a_store_that_does_not_answer_is_told_to_the_caller(store):
    store.backend.write = failing(BackendUnreachableError("no answer"))
    with pytest.raises(BackendUnreachableError):
        SingleFlightLock().take(store, KEYS, who="Train/1/fit/2", is_done=lambda: False)


def failing(error: Exception):
    def fail(*_, **__):
        raise error

    return fail
