"""The reason of a miss: what it names, and with which earlier result it compares."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from memoflow.fingerprint import Fingerprint, Part, of_value, outline, summary
from memoflow.flow.memo import miss, uncached
from memoflow.flow.memo.options import MemoizeOptions
from memoflow.flow.memo.run_log import RunLog
from memoflow.flow.memo.uncached import Uncached
from memoflow.kinds import evicted, memo
from memoflow.kinds.decision import Decision, Reason
from memoflow.masking import ANY
from memoflow.store import Store, open_store

CODE = (Part("code", "fit()", "1", "flow.py:9", source="def fit(): pass"),)
RED, BLUE = {"lr": 0.1, "seed": 7}, {"lr": 0.2, "seed": 8}


def read(name: str, value: Any, kind: str = "input") -> Part:
    return Part(kind, name, str(of_value(value)), summary=summary(value), outline=outline(value))


def inputs(item: Any = None, index: int = 0, **parameters: Any) -> tuple[Part, ...]:
    parts = [read(name, value, "parameter") for name, value in parameters.items()]
    if item is not None:
        parts += [read("input", item), read("index", index)]
    return tuple(parts)


class Foreach:
    """What a task of a foreach over these items starts from."""

    def __init__(self, *items: Any) -> None:
        self._digests = {str(of_value(item)) for item in items}

    def outlined(self, parts: Any) -> tuple[Part, ...]:
        return tuple(parts)

    def has_item(self, digest: str, *, most: int) -> bool | None:
        return digest in self._digests if self._digests else None


@pytest.fixture
def store(tmp_path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


@pytest.fixture
def record(store) -> Callable[..., Any]:
    def record(given: tuple[Part, ...], *, run: str = "1", code: Any = CODE, **more: Any) -> Any:
        scope = memo.code_key("Sweep", "fit", Fingerprint.of(code))
        result = memo.Result(f"Sweep/{run}/fit/1", 1.0, {}, {}, given)
        return memo.record(store, scope, code, result, **more)

    return record


@pytest.fixture
def explain(store) -> Callable[..., Decision]:
    log = RunLog()
    log.began, log.run = time.time() + 60, "Sweep/2"
    session = SimpleNamespace(context=SimpleNamespace(store=store), log=log)

    def explain(*seen: tuple[Part, ...], code: Any = CODE, items: Any = ()) -> Decision:
        return miss.explain(step(code), Foreach(*items), session, seen)  # type: ignore[arg-type]

    return explain


def step(code: Any = CODE, **options: Any) -> Any:
    fingerprint = Fingerprint.of(code)
    return SimpleNamespace(
        step="fit",
        code=fingerprint,
        code_key=memo.code_key("Sweep", "fit", fingerprint),
        step_key=memo.step_key("Sweep", "fit"),
        options=MemoizeOptions(**options),
        shape=SimpleNamespace(flow=SimpleNamespace(__name__="Sweep")),
        spelled=lambda option, names: f"{option}={names}",
        mask=ANY,
        matched=set(),
    )


def test_nothing_before_is_a_first_run(explain):
    assert explain().line == "first run"


def test_a_parameter_is_named(record, explain):
    record(inputs(alpha=1))
    assert explain(inputs(alpha=2)).line == "parameter alpha changed: 1 -> 2"


def test_results_of_the_same_run_are_not_compared_with(record, explain):
    record(inputs(alpha=1))
    record(inputs(alpha=5), run="2")
    assert explain(inputs(alpha=2)).line == "parameter alpha changed: 1 -> 2"


def test_results_of_the_same_run_alone_are_a_first_run(record, explain):
    record(inputs(alpha=5), run="2")
    assert explain(inputs(alpha=2)).line == "first run"


def test_an_item_added_to_a_list_is_new(record, explain):
    record(inputs(RED))
    decision = explain(inputs(BLUE, 1), items=[RED, BLUE])
    assert decision.line == "new input lr=0.2 seed=8"
    assert decision.reason is Reason.NEW_INPUT


def test_an_item_that_was_edited_is_changed(record, explain):
    record(inputs(RED))
    record(inputs(BLUE, 1))
    edited = BLUE | {"lr": 0.01}
    decision = explain(inputs(edited, 1), items=[RED, edited])
    assert decision.line == "input changed: lr 0.2 -> 0.01"
    assert decision.reason is Reason.INPUT_CHANGED


def test_an_item_like_one_that_is_still_there_is_new(record, explain):
    record(inputs(RED))
    added = RED | {"lr": 0.01}
    assert explain(inputs(added, 1), items=[RED, added]).line == "new input lr=0.01 seed=7"


def test_an_item_whose_list_cannot_be_told_is_new(record, explain):
    record(inputs(RED))
    assert explain(inputs(RED | {"lr": 0.01}, 1)).line == "new input lr=0.01 seed=7"


def test_a_plain_item_is_new(record, explain):
    record(inputs("red"))
    assert explain(inputs("blue", 0), items=["blue"]).line == "new input 'blue'"


def test_the_place_of_an_item_is_no_second_difference(record, explain):
    record(inputs(RED, 0, alpha=1))
    record(inputs(BLUE, 1, alpha=1))
    assert explain(inputs(BLUE, 1, alpha=2)).line == "parameter alpha changed: 1 -> 2"


def test_of_many_items_the_same_one_is_compared_with(record, explain):
    for n in range(40):
        record(inputs({"n": n, "x": 1}, n, alpha=1))
    decision = explain(inputs({"n": 3, "x": 1}, 3, alpha=2))
    assert decision.line == "parameter alpha changed: 1 -> 2"


def test_all_tasks_of_a_run_compare_with_what_was_read_once(record, explain, store):
    record(inputs(alpha=1))
    explain(inputs(alpha=2))
    record(inputs(alpha=3))
    assert explain(inputs(alpha=4)).line == "parameter alpha changed: 1 -> 4"


def test_other_code_is_named_before_inputs(record, explain):
    record(inputs(alpha=1))
    code = (Part("code", "fit()", "2", "flow.py:9", source="def fit(): return"),)
    decision = explain(code=code)
    assert decision.line == "code of fit() changed (flow.py:9)"
    assert decision.reason is Reason.CODE_CHANGED
    assert decision.nearest == "Sweep/1/fit/1"


def test_what_was_evicted_is_said_to_be(record, explain, store):
    record(inputs(alpha=2))
    ref = record(inputs(alpha=1))
    store.forget(ref.key)
    evicted.note(store, [ref.key], "gc")
    decision = explain(inputs(alpha=1))
    assert decision.line.startswith("the cached result was evicted (gc, ")
    assert decision.reason is Reason.EVICTED


def test_what_another_machine_evicted_is_said_without_who(record, explain, store):
    store.forget(record(inputs(alpha=1)).key)
    assert explain(inputs(alpha=1)).line == "the cached result is gone"


def test_what_expired_is_said_to_be(record, explain):
    record(inputs(alpha=1), expires=time.time() - 1)
    assert explain(inputs(alpha=1)).reason is Reason.EXPIRED


def test_a_step_that_is_never_recorded_is_no_first_run(explain, store):
    uncached.remember(step(), store, Uncached("reads", "reads current.run_id (...)"))
    assert explain().line == "not cached: reads current.run_id (...)"


def test_an_option_that_may_mend_it_makes_it_a_first_run_again(explain, store):
    ignoring = step(ignore=frozenset(["current.run_id"]))
    uncached.remember(step(), store, Uncached("reads", "reads current.run_id (...)"))
    assert uncached.known(ignoring, store) is None


def test_what_the_next_task_need_not_meet_is_not_remembered(explain, store):
    uncached.remember(step(), store, Uncached("edited", "lib.py was edited", lasts=False))
    assert explain().line == "first run"


def test_a_line_is_news_once_a_run(store):
    assert uncached.is_news(step(), store, "1", "reads")
    assert not uncached.is_news(step(), store, "1", "reads")
    assert uncached.is_news(step(), store, "1", "blind")
    assert uncached.is_news(step(), store, "2", "reads")


def test_a_name_to_ignore_that_matches_nothing_is_told_until_one_task_matches_it(store):
    asked = step(ignore=frozenset(["logs/*", "x"]))
    asked.matched = {"x"}
    assert uncached.unmatched(asked, store) == ["logs/*"]
    asked.matched = set()
    assert uncached.unmatched(asked, store) == ["logs/*"]
    asked.matched = {"logs/*"}
    assert uncached.unmatched(asked, store) == []
    asked.matched = set()
    assert uncached.unmatched(asked, store) == []
