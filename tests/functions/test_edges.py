"""Edges: what changes beside a call, within it or around it, and those that wait for it."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from memoflow.errors import UsageError
from memoflow.functions.decorator import memoize
from memoflow.store import Store
from tests.functions.conftest import Load
from tests.waiting import PATIENCE_S, until


def test_a_relative_path_counts_with_the_working_directory(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("""
        import os
        from pathlib import Path
        @memo
        def read():
            note("read")
            return Path("x.txt").read_text()
        @memo
        def where(name):
            note("where")
            return os.path.abspath(name)
        @memo
        def names():
            note("names")
            return sorted(os.listdir())
        @memo
        def whole(path):
            note("whole")
            return Path(path).read_text()
    """)
    found = []
    for name in ("one", "two", "one"):
        Path(name).mkdir(exist_ok=True)
        (Path(name) / "x.txt").write_text(name)
        (Path(name) / name).touch()
    whole = os.path.abspath("one/x.txt")
    home = os.getcwd()
    for name in ("one", "two", "one"):
        monkeypatch.chdir(f"{home}/{name}")
        found.append((module.read(), os.path.basename(os.path.dirname(module.where("a")))))
        assert name in module.names()
        assert module.whole(whole) == "one"
    assert found == [("one", "one"), ("two", "two"), ("one", "one")]
    monkeypatch.chdir(home)
    assert "the working directory changed: " in module.read.why()
    assert module.ran == ["read", "where", "names", "whole", "read", "where", "names"]


CHANGED = """
    import enum
    from contextvars import ContextVar
    from functools import singledispatch
    class Kept:
        def a(self):
            return "a"
        def b(self):
            return "b"
    class Colour(enum.Enum):
        RED = 1
    @singledispatch
    def shown(x):
        return "any"
    class New:
        pass
    def keyed(*, a=1, b=2):
        return a, b
    @memo
    def compute(x=0):
        kept = Kept()
        return kept.a(), Colour.RED.value, shown(New()), keyed()
"""


def test_a_swap_of_methods_is_seen(load: Load) -> None:
    module = load(CHANGED)
    before = module.compute()
    a, b = module.Kept.a, module.Kept.b
    del module.Kept.a, module.Kept.b
    module.Kept.a, module.Kept.b = b, a
    assert module.compute() == ("b", *before[1:])


def test_a_new_registration_is_seen(load: Load) -> None:
    module = load(CHANGED)
    before = module.compute()
    module.shown.register(module.New, lambda x: "new")
    assert module.compute() == (*before[:2], "new", before[3])


def test_swapped_defaults_are_seen(load: Load) -> None:
    module = load(CHANGED)
    before = module.compute()
    module.keyed.__kwdefaults__ = {"b": 1, "a": 2}
    assert module.compute() == (*before[:3], (2, 1))


def test_a_change_by_another_thread_does_not_reach_the_store(load: Load) -> None:
    module = load("""
        import time
        K = 1
        @memo
        def slow(seconds):
            note(seconds)
            time.sleep(seconds)
            return K
    """)
    thread = threading.Thread(target=module.slow, args=(0.5,))
    thread.start()
    until(lambda: module.ran == [0.5])
    module.K = 2
    module.slow(0.0)
    thread.join(PATIENCE_S)
    module.K = 1
    assert module.slow(0.5) == 1


@pytest.mark.parametrize("made", ["itertools.count()", "contextvars.ContextVar('x', default=1)"])
def test_a_global_that_gives_another_thing_each_time_is_not_cached(
    load: Load, made: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = load(f"""
        import contextvars, itertools
        STATE = {made}
        @memo
        def use():
            note(1)
            return repr(STATE)
    """)
    module.use()
    module.use()
    assert module.ran == [1, 1]
    assert "changes as it is used" in caplog.text


SCRIPT = """
    import enum, sys
    from dataclasses import dataclass
    from memoflow import memoize
    class Colour(enum.Enum):
        RED = 1
    @dataclass
    class Row:
        x: int
    @memoize(store="store")
    def make(x):
        print("runs")
        return Colour.RED, Row(x)
    colour, row = make(1)
    assert colour is Colour.RED
    assert isinstance(row, Row) and row == Row(1)
"""


def test_classes_of_a_script_are_its_own_in_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    said = [
        subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env={**os.environ, "METAFLOW_MEMOFLOW_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert said == ["runs\n", ""]


def test_who_is_cancelled_leaves_the_others_alone(load: Load) -> None:
    module = load("""
        import asyncio
        @memo
        async def slow(x):
            note(x)
            await asyncio.sleep(0.2)
            return x
    """)

    async def three() -> list[object]:
        tasks = [asyncio.create_task(module.slow(1)) for _ in range(3)]
        await asyncio.sleep(0.1)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(three())
    assert (first, third) == (1, 1)
    assert isinstance(second, asyncio.CancelledError)
    assert module.ran == [1]


def test_a_call_that_is_cancelled_while_it_waits_for_a_lease_leaves_none(
    load: Load,
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    module = load("""
        @memo
        async def slow(x):
            note(x)
            return x
    """)
    key = module.slow._call_of(module.slow._place_or_raise(), (1,), {}).lease_key

    async def two() -> tuple[asyncio.Task[int], int]:
        with store.lease(key, who="another"):
            tasks = [asyncio.create_task(module.slow(1)) for _ in range(2)]
            while "waiting for another" not in caplog.text:
                await asyncio.sleep(0.01)
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
        return tasks[0], await tasks[1]

    cancelled, found = asyncio.run(two())
    assert cancelled.cancelled()
    assert (found, module.ran) == (1, [1])
    until(lambda: all(each.name != "memoflow-wait" for each in threading.enumerate()))
    waits: list[str] = []
    with store.lease(key, who="another", on_wait=waits.append, is_done=lambda: bool(waits)):
        assert waits == []
    assert errors == []


MANY = """
    import asyncio, sys, time
    from memoflow import memoize
    def work():
        time.sleep(0.01)
    @memoize(store="store")
    async def f(x):
        await asyncio.to_thread(work)
        return x
    async def main(order):
        return await asyncio.gather(*map(f, range(40)[::order]))
    print(sum(asyncio.run(main(int(sys.argv[1])))))
"""


def test_two_processes_that_want_the_same_in_opposite_order_end(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text(textwrap.dedent(MANY))
    env = {**os.environ, "METAFLOW_MEMOFLOW_CACHE_DIR": str(tmp_path / "cache")}
    started = [
        subprocess.Popen(
            [sys.executable, "many.py", order],
            cwd=tmp_path,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for order in ("1", "-1")
    ]
    assert [each.communicate(timeout=PATIENCE_S)[0] for each in started] == ["780\n"] * 2


def test_a_call_of_the_same_key_within_is_not_waited_for(load: Load) -> None:
    module = load("""
        from concurrent.futures import ThreadPoolExecutor
        @memo(ignore=["depth"])
        def nested(x, depth=0):
            if depth:
                return x
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(nested, x, depth=1).result(30)
    """)
    assert module.nested(1) == 1


def test_generators_that_are_sent_or_return_something_odd(load: Load) -> None:
    module = load("""
        import threading
        @memo
        def count(n):
            note(n)
            for i in range(n):
                yield i
        @memo
        def odd():
            yield 1
            return threading.Lock()
    """)
    assert list(module.count(2)) == [0, 1]
    replayed = module.count(2)
    next(replayed)
    assert replayed.send("x") == 1
    assert [*module.odd(), *module.odd()] == [1, 1]
    assert module.ran == [2]


def test_partials_and_callable_objects(store: Store) -> None:
    def add(x: int, y: int) -> int:
        return x + y

    class Scale:
        def __init__(self, by: int) -> None:
            self.by = by

        def __call__(self, x: int) -> int:
            return self.by * x

    one = memoize(functools.partial(add, 1), store=store)
    two = memoize(functools.partial(add, 2), store=store)
    assert [one(1), two(1), one(1)] == [2, 3, 2]
    double, triple = memoize(Scale(2), store=store), memoize(Scale(3), store=store)
    assert [double(1), triple(1), double(1)] == [2, 3, 2]
    assert (one.hits, double.hits) == (1, 1)


def test_static_methods_below_and_above(load: Load) -> None:
    module = load("""
        class Tools:
            @memo
            @staticmethod
            def below(x):
                return x + 1
    """)
    assert [module.Tools().below(1), module.Tools.below(1)] == [2, 2]
    with pytest.raises(UsageError, match="takes a function"):
        memoize(classmethod(len))


def test_a_wrapper_is_called_as_it_is(load: Load) -> None:
    module = load("""
        import functools
        def injects(f):
            @functools.wraps(f)
            def wrapper(*a, flag=None):
                note(flag)
                return f("db", *a)
            return wrapper
        @memo
        @injects
        def query(db, x):
            return db, x
    """)
    assert [module.query(1, flag=2), module.query(1, flag=2)] == [("db", 1)] * 2
    assert module.ran == [2]


def test_options_of_a_call_within_reach_the_one_around_it(load: Load) -> None:
    text = """
        @memo(version="1")
        def inner():
            return 1
        @memo(ttl="1h")
        def brief():
            return 2
        @memo
        def outer():
            note(1)
            return inner()
        @memo
        def lasting():
            return brief()
    """
    first = load(text, "options")
    first.outer()
    second = load(text.replace('version="1"', 'version="2"'), "options")
    second.outer()
    assert second.ran == [1]
    for _ in range(2):
        second.lasting()
        (key,) = [
            key
            for key in second.place.store.keys()  # noqa: SIM118
            if key.parts[2] == "lasting" and "results" in key.parts
        ]
        assert second.place.store.find(key).expires is not None
        second.lasting.forget()
