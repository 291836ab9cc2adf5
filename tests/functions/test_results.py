"""Results as rows: which there are, what is shown of them, and the one that is meant."""

from __future__ import annotations

import builtins
import os
import sys
import time
from datetime import timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memoflow
from memoflow.errors import NotFoundError, UsageError
from memoflow.fingerprint import Fingerprint, Part
from memoflow.functions.place import PLACES
from memoflow.functions.tallies import Tallies
from memoflow.index import MissCost
from memoflow.kinds import memo
from memoflow.names import Key
from memoflow.store import Store
from tests.functions.conftest import Load

EMBED = """
    @memo
    def embed(text, model="small", options=None):
        return [text, model]
"""
CODE = (Part("code", "fit()", "xxh3:" + "1" * 32),)


def record_step(store: Store, number: int, *, flow: str = "Sweep") -> None:
    memo.record(
        store,
        memo.code_key(flow, "fit", Fingerprint.of(CODE)),
        CODE,
        memo.Result(
            f"{flow}/1/fit/{number}",
            2.5,
            {},
            {},
            (Part("input", "x", f"xxh3:{number:032x}", summary=str(number)),),
        ),
    )


def test_rows_say_what_a_call_was_and_load_its_value(load: Load, store: Store) -> None:
    module = load(EMBED, "train")
    module.embed("a", options={"lr": 0.1, "seed": 7})
    (row,) = memoflow.results("train.embed", store=store)
    assert row.inputs == {"text": "'a'", "model": "'small'", "options": "lr=0.1 seed=7"}
    assert (row.name, row.value, row.is_function) == ("train.embed", ["a", "small"], True)
    assert row.key.startswith(module.embed.key("a", options={"lr": 0.1, "seed": 7}) + "/")
    assert row.code == Key.parse(row.key).parts[3][:12]
    assert row.created.tzinfo is timezone.utc
    assert (row.expires, row.is_expired) == (None, False)


def test_rows_are_newest_first(load: Load, store: Store) -> None:
    embed = load(EMBED).embed
    for text in "abc":
        embed(text)
    times = [row.created for row in memoflow.results(embed)]
    assert times == sorted(times, reverse=True)
    assert len(times) == 3


@pytest.mark.parametrize("name", ["train.embed", "train/embed", "embed"])
def test_a_function_has_several_names(load: Load, store: Store, name: str) -> None:
    load(EMBED, "train").embed("a")
    assert [row.value for row in memoflow.results(name, store=store)] == [["a", "small"]]


def test_a_function_is_asked_for_its_own_store(load: Load, store: Store) -> None:
    embed = load(EMBED).embed
    assert list(memoflow.results(embed)) == []
    embed("a")
    assert len(memoflow.results(embed)) == 1


def test_a_method_is_found_bound_or_not(load: Load, store: Store) -> None:
    module = load("""
        class Model:
            def __init__(self, rate):
                self.rate = rate
            @memo
            def fit(self, x):
                return self.rate * x
    """)
    assert module.Model(2).fit(3) == 6
    for method in (module.Model.fit, module.Model(2).fit):
        assert [row.value for row in memoflow.results(method)] == [6]


def test_the_items_of_a_generator_are_its_value(load: Load, store: Store) -> None:
    module = load("""
        @memo
        def count(n):
            yield from range(n)
    """)
    assert list(module.count(3)) == [0, 1, 2]
    assert memoflow.results(module.count)[0].value == [0, 1, 2]


def test_a_large_array_is_the_caller_s_own(load: Load, store: Store) -> None:
    module = load("""
        import numpy as np
        @memo
        def grid(n):
            return np.arange(n, dtype="float32")
    """)
    module.grid(1_000_000)
    memoflow.results(module.grid)[0].value[:] = 0
    assert np.array_equal(memoflow.results(module.grid)[0].value, np.arange(1e6, dtype="f4"))


def test_of_a_step_the_rows_name_the_task_that_has_its_outputs(store: Store) -> None:
    record_step(store, 7)
    (row,) = memoflow.results("Sweep/fit", store=store)
    assert (row.name, row.origin, row.inputs) == ("Sweep/fit", "Sweep/1/fit/7", {"x": "7"})
    with pytest.raises(UsageError, match=r"Task\('Sweep/1/fit/7'\)"):
        _ = row.value


def test_an_unknown_name_gets_those_that_are_close(load: Load, store: Store) -> None:
    load(EMBED, "train").embed("a")
    with pytest.raises(NotFoundError, match=r"no results of 'embd'; did you mean 'embed'"):
        memoflow.results("embd", store=store)
    with pytest.raises(NotFoundError, match=r"no results of 'qqq'$"):
        memoflow.results("qqq", store=store)


def test_a_name_that_several_have_is_refused_with_theirs(load: Load, store: Store) -> None:
    load(EMBED, "train").embed("a")
    load(EMBED, "other").embed("a")
    with pytest.raises(UsageError, match=r"other\.embed, train\.embed"):
        memoflow.results("embed", store=store)


def test_what_is_no_function_and_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="takes a memoized function or a name"):
        memoflow.results(len)


def test_one_is_chosen_by_values_of_the_same_type(load: Load, store: Store) -> None:
    embed = load(EMBED).embed
    for text in (1, 1.0, True, "1"):
        embed(text)
    found = memoflow.results(embed)
    for text in (1, 1.0, True, "1"):
        assert found.one(text=text).value == [text, "small"]
        assert type(found.one(text=text).value[0]) is type(text)


def test_one_is_chosen_by_the_text_that_is_shown(load: Load, store: Store) -> None:
    embed = load(EMBED).embed
    for seed in (7, 8):
        embed("a", options={"lr": 0.1, "seed": seed})
    chosen = memoflow.results(embed).one(text="a", options="lr=0.1 seed=8")
    assert chosen.key.startswith(embed.key("a", options={"lr": 0.1, "seed": 8}))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "small"}, r"2 results of train\.embed match .* differ in text \('b', 'a'\)$"),
        ({"text": "q"}, r"0 of 2 results of train\.embed match .*; text is 'b', 'a'$"),
        ({"txt": "a"}, r"train\.embed has no input 'txt'; it has text, model, options$"),
        ({}, r"2 results of train\.embed match"),
    ],
)
def test_what_is_not_one_is_refused_with_the_difference(
    load: Load, store: Store, asked: dict[str, Any], said: str
) -> None:
    module = load(EMBED, "train")
    module.embed("a")
    module.embed("b")
    with pytest.raises(UsageError, match=said):
        memoflow.results(module.embed).one(**asked)


def test_results_of_other_code_are_told_apart(load: Load, store: Store) -> None:
    load(EMBED, "train").embed("a")
    module = load(EMBED.replace("[text, model]", "[text, model, 2]"), "train")
    module.embed("a")
    with pytest.raises(UsageError, match=r"differ in code or environment$"):
        memoflow.results(module.embed).one(text="a")


def test_a_run_that_loads_a_module_is_one_result(load: Load, store: Store) -> None:
    load("def double(x): return 2 * x", "later")
    sys.modules.pop("later")
    module = load("""
        @memo
        def run(x):
            import later
            return later.double(x)
    """)
    assert module.run(3) == 6
    assert len([*filter(memo.is_result, store.keys())]) == 2
    assert [row.value for row in memoflow.results(module.run)] == [6]


def test_results_of_other_reads_are_told_apart(load: Load, store: Store) -> None:
    module = load("""
        @memo
        def size(name):
            with open(name) as file:
                return len(file.read())
    """)
    for text in ("a", "bb"):
        Path("data.txt").write_text(text)
        assert module.size("data.txt") == len(text)
    with pytest.raises(UsageError, match=r"differ in files and variables that they read$"):
        memoflow.results(module.size).one(name="data.txt")


def test_one_of_none_says_that_there_are_none(load: Load, store: Store) -> None:
    with pytest.raises(UsageError, match=r"^0 of 0 results of train\.embed match"):
        memoflow.results(load(EMBED, "train").embed).one(text="a")


def test_an_expired_result_is_marked(load: Load, store: Store) -> None:
    module = load("""
        @memo(ttl="1s")
        def embed(text):
            return text
    """)
    module.embed("a")
    deadline = time.monotonic() + 60
    while not memoflow.results(module.embed)[0].is_expired and time.monotonic() < deadline:
        time.sleep(0.1)
    found = memoflow.results(module.embed)
    assert "(expired)" in repr(found)
    assert found[0].expires > found[0].created
    assert found[0].value == "a"


def test_a_damaged_result_is_left_out_with_a_warning(
    load: Load, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    embed = load(EMBED).embed
    embed("a")
    embed("b")
    key = memoflow.results(embed).one(text="a").key
    path = store.backend.path(f"refs/{key}")
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-40] + b"\0" * 40)
    assert [row.value for row in memoflow.results(embed)] == [["b", "small"]]
    assert any(key in record.message for record in caplog.records)


def test_many_rows_are_shown_as_a_short_table(load: Load, store: Store) -> None:
    embed = load(EMBED, "train").embed
    for text in range(23):
        embed(text, "<b>")
    found = memoflow.results(embed)
    lines = repr(found).splitlines()
    assert lines[0] == "23 results of train.embed"
    assert lines[1].split() == ["created", "ran", "size", "inputs"]
    assert "text=22, model='<b>'" in lines[2]
    assert (len(lines), lines[-1]) == (23, "and 3 more")
    html = found._repr_html_()
    assert html.count("<tr>") == 21
    assert "&lt;b&gt;" in html
    assert "<b>'" not in html
    assert "and 3 more" in html


def test_no_rows_are_shown_as_none(load: Load, store: Store) -> None:
    assert repr(memoflow.results(load(EMBED, "train").embed)) == "0 results of train.embed"


def test_rows_become_a_frame_with_a_column_for_each_input(load: Load, store: Store) -> None:
    pytest.importorskip("pandas")
    embed = load(EMBED).embed
    embed("a")
    embed("b", "large")
    frame = memoflow.results(embed).to_pandas()
    assert frame["input text"].tolist() == ["'b'", "'a'"]
    assert frame["input model"].tolist() == ["'large'", "'small'"]
    assert str(frame["created"].dt.tz) == "UTC"
    assert memoflow.results(embed)[2:] == []


def test_without_pandas_the_remedy_is_said(
    load: Load, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = memoflow.results(load(EMBED).embed)
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pip install pandas"):
        found.to_pandas()


# Tallies: what `stats` counts.


def tally(store: Store) -> dict[str, tuple[int, int]]:
    PLACES.__init__()  # type: ignore[misc] # As at exit.
    return {f"{each.flow}.{each.step}": (each.hits, each.misses) for each in store.index.tally()}


def test_hits_and_misses_are_those_of_each_function(load: Load, store: Store) -> None:
    module = load(EMBED, "train")
    for text in "aab":
        module.embed(text)
    module.embed.call("a")
    assert tally(store) == {"train.embed": (1, 3)}
    module.embed("b")
    assert tally(store) == {"train.embed": (2, 3)}


KEY = Key.of("memo", "module", "function")
CALL = ("code", "argument")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_second_s_hits_are_written_at_once(store: Store) -> None:
    clock = Clock()
    tallies = Tallies(store.index, clock=clock, ticks=clock)
    tallies.miss(KEY, CALL, 2.0)
    tallies.hit(KEY, CALL)
    assert store.index.tally() == []
    clock.now += 1
    tallies.hit(KEY, CALL, 5.0)
    (found,) = store.index.tally()
    assert (found.hits, found.misses, found.saved_s, found.last) == (2, 1, 7.0, 101.0)


def test_misses_are_kept_with_the_run_time_of_all(store: Store) -> None:
    tallies = Tallies(store.index)
    tallies.miss(KEY, CALL, 2.0)
    tallies.miss(KEY, (*CALL, "x"), 3.0)
    tallies.hit(KEY, CALL)
    tallies.flush()
    tallies.flush()
    _, module, name = KEY.parts
    assert store.index.miss_costs() == [MissCost(module, name, "", 2, 5.0)]


def test_hits_are_those_of_their_day(store: Store) -> None:
    clock = Clock()
    tallies = Tallies(store.index, clock=clock, ticks=lambda: 0.0)
    for day, hits in enumerate((3, 2)):
        clock.now = day * 86400.0
        for _ in range(hits):
            tallies.hit(KEY, CALL, 1.0)
    tallies.miss(KEY, CALL, 1.0)
    tallies.flush()
    tallies.flush()
    days = [(each.date, each.hits, each.misses, each.saved_s) for each in store.index.days()]
    assert days == [("1970-01-01", 3, 0, 3.0), ("1970-01-02", 2, 1, 2.0)]


def test_a_forked_process_writes_nothing_of_its_parent_s(store: Store) -> None:
    tallies = Tallies(store.index)
    tallies.hit(KEY, CALL, 1.0)
    child = os.fork()
    if child == 0:
        tallies.hit(KEY, CALL, 1.0)
        tallies.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert store.index.tally() == []
    tallies.flush()
    assert [each.hits for each in store.index.tally()] == [1]


def test_workers_of_a_pool_record_theirs(load: Load, store: Store) -> None:
    module = load("""
        @memo
        def square(n):
            return n * n
        def all_of(numbers):
            return map(square, numbers, workers=2, processes=True)
    """)
    for n in range(4):
        module.square(n)
    assert module.all_of(range(4)) == [0, 1, 4, 9]
    assert sum(hits for hits, _ in tally(store).values()) >= 4
