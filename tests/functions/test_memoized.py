"""Memoized functions: what is the same call, what is not, and what is never harmed."""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memoflow.functions.place
from memoflow.errors import UsageError
from memoflow.functions.decorator import memoize
from memoflow.functions.memoized import MemoizedFunction, NotStoredError
from memoflow.store import Store
from tests.functions.conftest import Load
from tests.waiting import PATIENCE_S, until

ADD = """
    @memo
    def add(x, y=1, *rest, key=None, **more):
        note((x, y))
        return [x, y, rest, key, more]
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (((1,), {}), ((1, 1), {})),
        (((1, 2), {}), ((), {"y": 2, "x": 1})),
        (((1,), {"a": 1, "b": 2}), ((1,), {"b": 2, "a": 1})),
        (((float("nan"),), {}), ((float("nan"),), {})),
        (((1,), {"key": None}), ((1,), {})),
        ((([1, {2}],), {}), (([1, {2}],), {})),
    ],
)
def test_equal_calls_run_once(load: Load, one: Any, other: Any) -> None:
    module = load(ADD)
    for given, named in (one, other):
        module.add(*given, **named)
    assert len(module.ran) == 1
    assert module.add(*one[0], **one[1]) is not module.add(*one[0], **one[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (((1,), {}), ((1.0,), {})),
        (((1,), {}), ((True,), {})),
        ((("1",), {}), ((1,), {})),
        (((b"a",), {}), (("a",), {})),
        (((0.0,), {}), ((-0.0,), {})),
        (((1, 2, 3), {}), ((1, 2), {"key": 3})),
        (((1, 2), {"a": 1}), ((1, 2), {"b": 1})),
        ((([1, 2],), {}), (((1, 2),), {})),
        ((({"a": 1, "b": 2},), {}), (({"b": 2, "a": 1},), {})),
        (((np.float32(1),), {}), ((np.float64(1),), {})),
        (((np.arange(3),), {}), ((np.arange(3).reshape(3, 1),), {})),
        (((None,), {}), (("None",), {})),
    ],
)
def test_other_arguments_are_other_calls(load: Load, one: Any, other: Any) -> None:
    module = load(ADD)
    for given, named in (one, other):
        module.add(*given, **named)
    assert len(module.ran) == 2


def test_results_last_for_other_processes(load: Load, store: Store) -> None:
    load(ADD, "kept").add(1)
    again = load(ADD, "kept")
    assert again.add(1) == [1, 1, (), None, {}]
    assert again.ran == []


EDITS = {
    "body": ("return x * FACTOR", "return x * FACTOR + 0"),
    "constant": ("FACTOR = 2", "FACTOR = 3"),
    "helper": ("return y - 1", "return y - 2"),
    "default": ("y=1", "y=2"),
    "class": ("k = 1", "k = 2"),
    "method": ("return self.k", "return self.k + 1"),
    "table": ("{'a': 1}", "{'a': 2}"),
    "inner": ("lambda z: z", "lambda z: -z"),
    "keyword": ("scale=1", "scale=2"),
    "base": ("top = 0", "top = 1"),
}
CODE = """
    FACTOR = 2
    TABLE = {'a': 1}
    class Base:
        top = 0
    class Kept(Base):
        k = 1
        def get(self):
            return self.k + self.top
    def helper(y, *, scale=1):
        return y - 1
    pick = lambda z: z
    @memo
    def compute(x, y=1):
        note(x)
        helper(y), Kept().get(), TABLE['a'], pick(1)
        return x * FACTOR
"""


@pytest.mark.parametrize("edit", EDITS)
def test_edited_code_runs_again(load: Load, edit: str) -> None:
    load(CODE, "edited").compute(1)
    old, new = EDITS[edit]
    assert old in CODE
    module = load(CODE.replace(old, new), "edited")
    module.compute(1)
    assert module.ran == [1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    return y - 1", "    # As before.\n            return y - 1"),
        ("@memo\n", "@memo(ttl='1d')\n"),
        ("pick = ", "other = 5\n    pick = "),
        ("note(x)", "note(x)\n        # Noted."),
    ],
    ids=["comment", "option", "unused", "remark"],
)
def test_edits_that_change_nothing_hit(load: Load, old: str, new: str) -> None:
    load(CODE, "edited").compute(1)
    assert old in CODE
    module = load(CODE.replace(old, new), "edited")
    module.compute(1)
    assert module.ran == []


CHANGES = {
    "a name": lambda module: setattr(module, "FACTOR", 7),
    "a content": lambda module: module.TABLE.update(a=7),
    "a helper": lambda module: setattr(module, "helper", lambda y: 7),
    "a class": lambda module: setattr(module.Kept, "k", 7),
    "a base": lambda module: setattr(module.Base, "top", 7),
    "a method": lambda module: setattr(module.Kept, "get", lambda self: 7),
    "a default": lambda module: setattr(module.helper, "__kwdefaults__", {"scale": 7}),
    "a code": lambda module: setattr(module.pick, "__code__", (lambda z: z + 7).__code__),
    "its default": lambda module: setattr(module.compute.__wrapped__, "__defaults__", (7,)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_in_memory_counts_at_the_next_call(load: Load, change: str) -> None:
    module = load(CODE)
    module.compute(1)
    module.compute(1)
    CHANGES[change](module)
    module.compute(1)
    assert module.ran == [1, 1]


def test_what_changes_back_is_found_again(load: Load) -> None:
    module = load(CODE)
    for factor in (2, 3, 2, 3):
        module.FACTOR = factor
        assert module.compute(1) == factor
    assert module.ran == [1, 1]


def test_the_code_of_an_argument_counts(load: Load) -> None:
    text = """
        class Point:
            def __init__(self, x):
                self.x = x
            def norm(self):
                return abs(self.x)
        def twice(f):
            return 2 * f(1)
        @memo
        def norm(point):
            note(1)
            return point.norm()
        @memo
        def apply(f):
            note(2)
            return f(3)
    """
    first = load(text, "classes")
    first.norm(first.Point(1))
    first.apply(first.Point)
    second = load(text.replace("abs(self.x)", "-self.x"), "classes")
    assert second.norm(second.Point(1)) == -1
    second.apply(second.Point)
    assert second.ran == [1, 2]


def test_a_class_that_is_changed_in_memory_counts(load: Load) -> None:
    module = load(
        """
        class Point:
            scale = 1
        @memo
        def scaled(point):
            note(1)
            return point.scale
    """
    )
    module.scaled(module.Point())
    module.Point.scale = 2
    assert module.scaled(module.Point()) == 2


READING = """
    import os
    from pathlib import Path
    @memo
    def read(name):
        note(name)
        return Path(name).read_text()
    @memo
    def fixed():
        note(0)
        return Path("data.txt").read_text() + os.environ.get("SOME_SETTING", "")
    @memo
    def outer():
        note(1)
        return fixed() + "!"
"""


def test_files_and_variables_count(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(READING)
    path = Path("data.txt")
    path.write_text("one")
    assert [module.fixed(), module.fixed()] == ["one", "one"]
    path.write_text("two")
    assert module.fixed() == "two"
    monkeypatch.setenv("SOME_SETTING", "x")
    assert module.fixed() == "twox"
    monkeypatch.delenv("SOME_SETTING")
    assert module.fixed() == "two"
    path.write_text("one")
    assert module.fixed() == "one"
    assert module.ran == [0, 0, 0]


def test_what_a_call_within_reads_counts_for_the_one_around_it(load: Load) -> None:
    module = load(READING)
    path = Path("data.txt")
    path.write_text("one")
    module.fixed()
    assert module.outer() == "one!"  # The call within is a hit.
    path.write_text("two")
    assert module.outer() == "two!"
    assert module.ran == [0, 1, 1, 0]


def test_calls_at_the_same_time_read_apart(load: Load) -> None:
    module = load(READING)
    for name in "abcdefgh":
        Path(name).write_text(name)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(module.read, "abcdefgh"))
    Path("a").write_text("other")
    module.ran.clear()
    assert [module.read(name) for name in "bcdefgh"] == list("bcdefgh")
    assert module.ran == []


def test_reads_that_are_ignored_do_not_count(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(
        READING.replace(
            "@memo\n    def fixed",
            """@memo(
        ignore=["data.*", "os.environ['SOME_SETTING']"])
    def fixed""",
        )
    )
    Path("data.txt").write_text("one")
    module.fixed()
    Path("data.txt").write_text("two")
    monkeypatch.setenv("SOME_SETTING", "x")
    assert module.fixed() == "one"
    assert module.ran == [0]


def test_an_argument_that_is_changed_is_not_stored(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    module = load("""
        @memo
        def grow(items):
            note(1)
            items.append(1)
            return len(items)
    """)
    for _ in range(2):
        items: list[int] = []
        assert module.grow(items) == 1
        assert items == [1]
    assert module.ran == [1, 1]
    assert [r.getMessage() for r in caplog.records].count(
        "[memoize] grow: not stored: it changes its argument items"
    ) == 1


def test_a_global_that_is_changed_is_not_stored(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    module = load("""
        seen = []
        def note(x):
            seen.append(x)
        @memo
        def count(x):
            note(x)
            return len(seen)
    """)
    assert [module.count(1), module.count(1)] == [1, 2]
    assert "seen, which it reads, changed while it ran" in caplog.text


def test_modules_that_a_function_imports_itself_count(load: Load) -> None:
    text = """
        @memo
        def later(x):
            note(x)
            import later_helper
            return later_helper.add(x)
    """
    helper = Path("later_helper.py")
    helper.write_text("N = 1\ndef add(x):\n    return x + N\n")
    for _ in range(2):  # In a process that has loaded it, and in one that has not.
        module = load(text, "later")
        assert [module.later(1), module.later(1)] == [2, 2]
        sys.modules.pop("later_helper", None)
    assert module.ran == []
    module.later(2)
    sys.modules["later_helper"].N = 5  # type: ignore[attr-defined]
    assert [module.later(1), module.later(2)] == [6, 7]
    sys.modules.pop("later_helper")


def test_a_forked_child_waits_for_no_thread_of_its_parent(load: Load) -> None:
    module = load("""
        import os, time
        @memo
        def slow(x):
            note(x)
            time.sleep(0.5)
            return x
        @memo
        def forks(x):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if slow(1) == 1 and forks.__wrapped__ else 1)
            return os.waitpid(pid, 0)[1]
    """)
    thread = threading.Thread(target=module.slow, args=(1,))
    thread.start()
    until(lambda: module.ran == [1])
    assert module.forks(1) == 0
    thread.join(PATIENCE_S)


def test_exceptions_are_raised_and_not_kept(load: Load) -> None:
    module = load("""
        @memo
        def fail(x):
            note(x)
            raise ValueError(x)
    """)
    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            module.fail(1)
    assert module.ran == [1, 1]


def test_wrong_arguments_are_the_functions_own_error(load: Load) -> None:
    module = load("""
        @memo
        def one(x):
            return x
    """)
    for call in (lambda: module.one(), lambda: module.one(1, 2), lambda: module.one(z=1)):
        with pytest.raises(TypeError, match=r"one\(\)"):
            call()


UNSTABLE = {
    "generator": (lambda: (i for i in range(3)), list),
    "lock": (threading.Lock, type),
    "file": (lambda: open(__file__), type),  # noqa: SIM115
}


@pytest.mark.parametrize("kind", UNSTABLE)
def test_an_argument_without_a_digest_runs_each_time(
    load: Load, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, show = UNSTABLE[kind]
    module = load("""
        @memo
        def shown(value, show):
            note(1)
            return show(value)
    """)
    for _ in range(2):
        value = make()
        module.shown(value, show)
        getattr(value, "close", lambda: None)()
    assert module.ran == [1, 1]
    assert len([r for r in caplog.records if "not cached: value" in r.getMessage()]) == 1


def test_a_result_that_cannot_be_pickled_is_returned(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    module = load("""
        import threading
        @memo
        def make():
            return threading.Lock()
    """)
    assert module.make().acquire()
    assert module.make().acquire()
    assert len([r for r in caplog.records if "cannot be pickled" in r.getMessage()]) == 1


def test_recursive_structures_are_results_and_arguments(load: Load) -> None:
    module = load("""
        @memo
        def loop(value):
            note(1)
            value = list(value)
            value.append(value)
            return value
    """)
    ring: list[Any] = [1]
    ring.append(ring)
    for _ in range(2):
        found = module.loop(ring)
        assert found[-1] is found
    assert module.ran == [1]


def test_recursion_runs_each_value_once(load: Load) -> None:
    module = load("""
        @memo
        def fib(n):
            note(n)
            return n if n < 2 else fib(n - 1) + fib(n - 2)
    """)
    assert module.fib(25) == 75025
    assert sorted(module.ran) == list(range(26))


def test_methods_go_by_the_state_of_their_object(load: Load) -> None:
    module = load("""
        class Model:
            def __init__(self, weight):
                self.weight = weight
            @memo
            def predict(self, x):
                note(x)
                return self.weight * x
            @staticmethod
            @memo
            def plain(x):
                note(x)
                return x
            @classmethod
            @memo
            def named(cls, x):
                note(x)
                return cls.__name__, x
    """)
    assert [module.Model(w).predict(3) for w in (1, 2, 1, 2)] == [3, 6, 3, 6]
    assert [module.Model.plain(1), module.Model(1).plain(1)] == [1, 1]
    assert [module.Model.named(1), module.Model(2).named(1)] == [("Model", 1)] * 2
    assert module.ran == [3, 3, 1, 1]


def test_lambdas_and_closures_are_told_apart(load: Load) -> None:
    module = load("""
        def made(n):
            @memo
            def inner(x):
                note(n)
                return x + n
            return inner
        double = memo(lambda x: 2 * x)
        triple = memo(lambda x: 3 * x)
    """)
    assert [module.made(1)(1), module.made(2)(1), module.made(1)(1)] == [2, 3, 2]
    assert module.ran == [1, 2]
    assert [module.double(1), module.triple(1), module.double(1)] == [2, 3, 2]


def test_builtins_and_functions_of_libraries_are_stored(store: Store) -> None:
    sort, mean = memoize(sorted, store=store), memoize(np.mean, store=store)
    assert [sort([2, 1]), sort([2, 1])] == [[1, 2], [1, 2]]
    assert [mean(np.arange(3)), mean(np.arange(3))] == [1.0, 1.0]
    assert (mean.hits, mean.misses) == (1, 1)


def test_async_functions_are_awaited(load: Load) -> None:
    module = load("""
        import asyncio
        @memo
        async def fetch(x):
            note(x)
            await asyncio.sleep(0.05)
            return [x]
    """)

    async def hundred() -> list[Any]:
        return await asyncio.gather(*(module.fetch(1) for _ in range(100)))

    found = asyncio.run(hundred())
    assert found == [[1]] * 100
    assert len({id(each) for each in found}) == 100
    assert module.ran == [1]
    assert asyncio.run(module.fetch.call(1)) == [1]
    assert module.ran == [1, 1]


def test_generators_are_recorded_when_they_are_exhausted(load: Load) -> None:
    module = load("""
        @memo
        def count(n):
            for i in range(n):
                note(i)
                yield i
            return "end"
    """)
    first = module.count(3)
    next(first)
    first.close()
    assert list(module.count(3)) == [0, 1, 2]
    assert list(module.count(3)) == [0, 1, 2]
    assert module.ran == [0, 0, 1, 2]

    def returned() -> Any:
        return (yield from module.count(3))

    inner = returned()
    assert [next(inner) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopIteration) as stop:
        next(inner)
    assert stop.value.value == "end"


def test_one_of_many_threads_runs(load: Load) -> None:
    module = load("""
        import time
        @memo
        def slow(x):
            note(x)
            time.sleep(0.1)
            return [x]
    """)
    with ThreadPoolExecutor(64) as threads:
        found = list(threads.map(module.slow, [1] * 64))
    assert found == [[1]] * 64
    assert module.ran == [1]


def test_those_that_wait_for_one_that_fails_run_themselves(load: Load) -> None:
    module = load("""
        import time
        @memo
        def flaky(x):
            note(x)
            time.sleep(0.05)
            if len(_ran.handlers[0].values) == 1:
                raise ValueError("the first")
            return x
    """)
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(module.flaky, 1) for _ in range(4)]
    failed = [each for each in futures if each.exception() is not None]
    assert len(failed) == 1
    assert module.ran == [1, 1]


def test_call_key_is_stored_and_forget(load: Load) -> None:
    module = load(CODE)
    f = module.compute
    assert not f.is_stored(1)
    f(1)
    assert f.is_stored(1)
    assert f.key(1) == f.key(x=1, y=1) != f.key(2)
    f.call(1)
    assert module.ran == [1, 1]
    f.forget(1)
    assert not f.is_stored(1)
    f(1)
    assert module.ran == [1, 1, 1]
    f.forget(5)
    assert repr(f) == f"<memoized {module.__name__}.compute: 0 hits, 3 misses>"


def test_why_names_what_differs(load: Load) -> None:
    first = load(CODE, "edited")
    assert first.compute.why(1) == "miss: first run"
    first.compute(1)
    assert first.compute.why(1).startswith("hit: edited/")
    assert "x changed: 1 -> 2" in first.compute.why(2)
    second = load(CODE.replace("return y - 1", "return y - 2"), "edited")
    told = second.compute.why(1)
    assert "helper() changed" in told
    assert "-    return y - 1" in told
    assert "edited.py" in told


def test_options(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("""
        @memo(ignore=["verbose"])
        def quiet(x, verbose=False):
            note(x)
            return x
        @memo(version="1")
        def one(x):
            return 1
        @memo(mode="off")
        def off(x):
            note(x)
        @memo(mode="read-only")
        def read_only(x):
            note(x)
        @memo(mode="only")
        def only(x):
            note(x)
        @memo(ttl="1s")
        def short(x):
            note(x)
    """)
    module.quiet(1, verbose=True)
    module.quiet(1)
    assert module.ran == [1]
    assert module.one.key(1) != memoize(
        module.one.__wrapped__, version="2", store=module.place.store
    ).key(1)
    for f in (module.off, module.read_only):
        module.ran.clear()
        f(1)
        f(1)
        assert module.ran == [1, 1]
    with pytest.raises(NotStoredError, match="only"):
        module.only(1)
    module.ran.clear()
    module.short(1)
    module.short(1)
    assert module.ran == [1]
    monkeypatch.setenv("METAFLOW_MEMOFLOW_MODE", "off")
    module.quiet(1)
    assert module.ran == [1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ttl": "soon"}, "ttl"),
        ({"mode": "maybe"}, "mode"),
        ({"scope": "flow"}, "scope"),
        ({"codec": "json"}, "codec"),
        ({"ignore": 5}, "ignore"),
        ({"store": 5}, "store"),
        ({"inputs": ["x"]}, "no option 'inputs'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        memoize(**options)(len)


def test_an_unknown_name_in_ignore_is_told(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    module = load("""
        @memo(ignore=["verbos"])
        def f(x, verbose=False):
            return x
    """)
    module.f(1)
    module.f(2)
    found = [r.getMessage() for r in caplog.records if "ignore=" in r.getMessage()]
    assert len(found) == 1
    assert "did you mean 'verbose'?" in found[0]


def test_classes_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="takes a function"):
        memoize(int)
    with pytest.raises(UsageError, match="put @memoize above @step"):
        memoize(len, store=store).is_step = True


def test_it_looks_like_the_function(load: Load) -> None:
    f = load(CODE).compute
    assert isinstance(f, MemoizedFunction)
    assert str(inspect.signature(f)) == "(x, y=1)"
    assert f.__name__ == "compute"
    assert pickle.loads(pickle.dumps(f)) is f


def test_a_store_that_cannot_be_had_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    f = memoize(lambda x: x + 1, store=str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert [f(1), f(1)] == [2, 2]
    assert len([r for r in caplog.records if "off:" in r.getMessage()]) == 1
    memoflow.functions.place.PLACES.__init__()  # type: ignore[misc]


def test_flipped_bits_are_never_served(load: Load, store: Store, tmp_path: Path) -> None:
    module = load("""
        import numpy as np
        @memo
        def make(n):
            note(n)
            return np.arange(n)
        @memo
        def text(n):
            note(n)
            return "x" * n
    """)
    module.make(1_000_000)
    module.text(200_000)
    expected = np.arange(1_000_000)
    blobs = [path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]
    assert blobs
    for path in blobs:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        module.make._small._recent.clear()
    module.text._small._recent.clear()
    assert (module.make(1_000_000) == expected).all()
    assert module.text(200_000) == "x" * 200_000
    assert module.ran == [1_000_000, 200_000, 1_000_000, 200_000]


@pytest.mark.parametrize("count", [0, 10, 10_000, 100_000, 1_000_000])
def test_arrays_of_any_size_are_kept(load: Load, count: int) -> None:
    """From 64 KiB on pickle writes a buffer by itself, and from 1 MiB on it is a file."""
    module = load("""
        import numpy as np
        @memo
        def make(n):
            note(n)
            return np.arange(n, dtype=float)
        @memo
        def each(n):
            note(n)
            yield np.arange(n, dtype=float)
            return np.ones(n)
    """)
    expected = list(range(count))
    assert [module.make(count).tolist() for _ in range(2)] == [expected] * 2
    assert [[item.tolist() for item in module.each(count)] for _ in range(2)] == [[expected]] * 2
    assert module.ran == [count, count]


def test_large_arrays_are_mapped_and_private(load: Load) -> None:
    module = load("""
        import numpy as np
        @memo
        def make(n):
            note(n)
            return {"a": np.arange(n, dtype=float), "b": [np.ones(n)]}
    """)
    module.make(1_000_000)
    first = module.make(1_000_000)
    first["a"][0] = -1
    second = module.make(1_000_000)
    assert second["a"][0] == 0
    assert second["b"][0].sum() == 1_000_000
    assert first["a"][0] == -1
    assert module.ran == [1_000_000]
