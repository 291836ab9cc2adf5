"""Values: one digest for what is the same, another for what is not."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import itertools
import json
import pathlib
import pickle
import re
import socket
import struct
import subprocess
import threading
import types
import uuid
import weakref
import zoneinfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import of_value, summary
from memoflow.names import Digest
from tests.fingerprint.conftest import World


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Size(enum.Enum):
    RED = 1


class Plain:
    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


class Other(Plain):
    pass


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: object) -> None:
        self.a = a


class Own:
    def __init__(self, id_: int) -> None:
        self.id_, self.lock = id_, threading.Lock()

    def __fingerprint__(self) -> object:
        return self.id_


class Rows(list):
    pass


class Table(dict):
    pass


class Loud(dict):
    def items(self) -> object:
        return {"always": "this"}.items()


class Picking(Plain):
    def __getstate__(self) -> dict:
        return {**self.__dict__, "version": 1}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


class Bag:
    """Pickled as its items, which are data and no attributes."""

    def __init__(self, **items: object) -> None:
        self.held = items

    def __getstate__(self) -> dict:
        return self.held

    def __setstate__(self, state: dict) -> None:
        self.held = state


class Paired:
    """Pickled as a class that is filled with items."""

    def __init__(self, **items: object) -> None:
        self.held = items

    def __reduce__(self) -> tuple:
        return Paired, (), None, None, iter(self.held.items())


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


Pair = collections.namedtuple("Pair", "a b")
Riap = collections.namedtuple("Riap", "a b")
UTC = datetime.timezone.utc
NOON = datetime.datetime(2020, 6, 1, 12)


def slotted(names: str) -> Slotted:
    value = Slotted.__new__(Slotted)
    for name in names:
        setattr(value, name, 1)
    return value


def orders(make: object) -> list[object]:
    """Return one value for each order of the same items of a dict."""
    return [make({"a": 1, "b": 2}), make({"b": 2, "a": 1})]


def frame(**more: object) -> pd.DataFrame:
    return pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, **more)


def changed(make: object, change: object) -> object:
    value = make()
    change(value)
    return value


ORDERED = {
    "dict": dict,
    "dict of many kinds": lambda items: {1: 1, None: 2, **items},
    "ordered dict": collections.OrderedDict,
    "dict with defaults": lambda items: collections.defaultdict(int, items),
    "counter": collections.Counter,
    "dict of a class": Table,
    "dict whose items are hidden": Loud,
    "proxy": types.MappingProxyType,
    "chain": lambda items: collections.ChainMap(items),
    "dict of Python": lambda items: collections.UserDict(items),
    "in a list": lambda items: [0, [items]],
    "in a dict": lambda items: {"x": items},
    "in an attribute": lambda items: Plain(x=items),
    "in a data class": lambda items: Point(items),
    "in a tuple with names": lambda items: Pair(items, 1),
    "in slots": lambda items: Slotted(items),
    "in a partial": lambda items: functools.partial(max, items),
    "in a keyword": lambda items: functools.partial(max, default=items),
    "in a closure": lambda items: lambda: items,
    "in an array": lambda items: np.array([items, None], object),
    "in a column": lambda items: pd.Series([items]),
    "notes of a frame": lambda items: changed(frame, lambda value: value.attrs.update(items)),
    "state of a class": lambda items: Bag(**items),
    "items of a pickle": lambda items: Paired(**items),
    "its own fingerprint": Own,
    "keys": lambda items: tuple(items),
}


@pytest.mark.parametrize("name", ORDERED)
def test_the_order_of_a_dict_counts(name: str) -> None:
    one, other = orders(ORDERED[name])
    assert of_value(one) != of_value(other)
    assert of_value(one) == of_value(orders(ORDERED[name])[0])


DIFFERENT: dict[str, list[object]] = {
    "scalars": [1, 1.0, True, "1", b"1", bytearray(b"1"), 1 + 0j, None, ..., NotImplemented],
    "zeros": [0, 0.0, -0.0, False, "", b"", (), [], {}, set(), frozenset(), None],
    "integers": [1, -1, 127, 128, 255, 256, -128, -129, 2**63, -(2**63), 2**64, 10**5000],
    "sequences": [[1], (1,), {1}, frozenset({1}), {1: None}, collections.deque([1]), Rows([1])],
    "boundaries": [
        ["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], [["ab"], "c"], [["ab", "c"]],
    ],
    "nesting": [[[], []], [[[]]], [[]], [[], [[]]], [], [[[], []]]],
    "dicts": [{"a": {"b": 1}}, {"a": 1, "b": {}}, {"a": {"b": {}}}, {"b": {"a": 1}}, {"a": "b"}],
    "keys": [{1: 2}, {1.0: 2}, {True: 2}, {"1": 2}, {(1,): 2}, {None: 2}],
    "flat lists": [
        [1] * 20, [1.0] * 20, ["1"] * 20, [True] * 20, [1] * 19 + [1.0], (1,) * 20, [1] * 21,
    ],
    "texts in lists": [["ab", "c"] * 9, ["a", "bc"] * 9, ["abc", ""] * 9],
    "texts": ["é", "e\u0301", "\ud800", "a\0", "a", "a" * 100, "a" * 101, b"a" * 100],
    "ordered dicts": [
        collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), {"a": 1, "b": 2},
    ],
    "counting dicts": [
        collections.Counter("a"), {"a": 1}, collections.defaultdict(int, a=1),
        collections.defaultdict(list, a=1), types.MappingProxyType({"a": 1}),
    ],
    "named tuples": [Pair(1, 2), Riap(1, 2), (1, 2), Pair(2, 1)],
    "ranges": [range(3), range(0, 3, 2), slice(3), slice(0, 3), [0, 1, 2]],
    "deques": [collections.deque([1]), collections.deque([1], maxlen=3), collections.deque()],
    "array.array": [array.array("i", [1]), array.array("l", [1]), array.array("i", [2])],
    "memoryviews": [memoryview(b"ab"), memoryview(b"ab").cast("b"), b"ab"],
    "enums": [Color.RED, Color.BLUE, Size.RED, 1, "RED"],
    "times": [
        NOON, NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=zoneinfo.ZoneInfo("UTC")),
        NOON.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Paris")), NOON.date(), NOON.time(),
        NOON.replace(fold=1), NOON.replace(microsecond=1), pd.Timestamp(NOON),
        datetime.timedelta(1), datetime.timedelta(2), pd.Timedelta(days=1),
        NOON.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
    ],
    "numbers": [decimal.Decimal("1.0"), decimal.Decimal("1.00"), fractions.Fraction(1), 1.0],
    "names": [
        uuid.UUID(int=1), uuid.UUID(int=2), pathlib.Path("a"), pathlib.PurePosixPath("a"), "a",
        pathlib.PureWindowsPath("a"),
    ],
    "patterns": [re.compile("a"), re.compile("a", re.I), re.compile(b"a"), re.compile("b"), "a"],
    "instances": [
        Plain(a=1), Plain(a=2), Plain(b=1), Plain(), Other(a=1), {"a": 1},
        types.SimpleNamespace(a=1), Slotted(1), Slotted(2), Point(1), Point(1, 1),
    ],
    "own fingerprints": [Own(1), Own(2), 1],
    "exceptions": [ValueError("a"), ValueError("b"), TypeError("a"), KeyError("a")],
    "code": [len, max, int, float, str.upper, "a".upper, "b".upper, json.dumps, functools, json],
    "partials": [
        functools.partial(max, 1), functools.partial(max, 2), functools.partial(min, 1),
        functools.partial(max, key=1), max,
    ],
    "closures": [(lambda n: lambda: n)(1), (lambda n: lambda: n)(2)],
    "bound methods": [Plain(a=1).__init__, Plain(a=2).__init__, Other(a=1).__init__],
    "dtypes": [
        np.array([1, 2], kind) for kind in ("i1", "u1", "i4", "i8", ">i8", "f4", "f8", "c16", "O")
    ],
    "shapes": [np.zeros(6), np.zeros((2, 3)), np.zeros((3, 2)), np.zeros((6, 1)), np.zeros((1, 6))],
    "empty arrays": [np.zeros(0), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(0, "i8")],
    "no dimensions": [np.array(1.0), np.float64(1.0), 1.0, np.array([1.0]), np.float32(1.0)],
    "numpy scalars": [np.int64(1), np.int32(1), np.bool_(True), np.str_("1"), np.bytes_(b"1"), 1],
    "zeros of arrays": [np.array([0.0]), np.array([-0.0])],
    "times of arrays": [
        np.array(["2020-01-01"], kind) for kind in ("M8[D]", "M8[s]", "M8[ns]", "U10", "S10")
    ],
    "layouts": [np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.arange(6)],
    "structures": [
        np.zeros(2, [("a", "i4"), ("b", "f8")]), np.zeros(2, [("b", "i4"), ("a", "f8")]),
        np.zeros(2, [("a", "i4"), ("b", "f4")]), np.zeros(2, "i4,f8"), np.zeros((2, 2), "i4"),
        np.zeros(2, np.dtype([("a", "i4"), ("b", "f8")], align=True)),
    ],
    "objects in arrays": [
        np.array([1, "a"], object), np.array([1.0, "a"], object), np.array(["a", 1], object),
        np.array([None, "a"], object), np.array([[1], ["a"]], object),
    ],
    "parts under a mask": [
        np.ma.array([(1, 2)], dtype="i4,i4", mask=[mask]) for mask in ((0, 0), (0, 1), (1, 0))
    ],
    "classes of arrays": [
        np.zeros((1, 2)), np.asmatrix(np.zeros((1, 2))), np.ma.array(np.zeros((1, 2))),
        np.zeros((1, 2)).view(np.recarray),
    ],
    "masks": [np.ma.array([1, 2], mask=mask) for mask in ([0, 0], [0, 1], [1, 0], [1, 1])],
    "dtypes as values": [np.dtype("f8"), np.dtype("f4"), np.dtype(">f8"), np.float64],
    "frames": [
        frame(), frame(index=[1, 2]), frame(index=["0", "1"]), frame().astype({"a": float}),
        frame()[["b", "a"]], frame().rename(columns={"a": "c"}), frame().iloc[::-1],
        frame().astype({"b": "category"}), frame().astype({"b": "string"}), frame().iloc[:1],
        frame().rename_axis("i"), frame().rename_axis(columns="c"),
        changed(frame, lambda value: value.attrs.update(a=1)), frame().set_flags(
            allows_duplicate_labels=False
        ),
        frame().to_dict(), frame().astype({"a": "Int64"}), frame().astype({"a": "i4"}),
    ],
    "series": [
        pd.Series([1, 2]), pd.Series([1, 2], name="a"), pd.Series([1.0, 2.0]), pd.Index([1, 2]),
        pd.Series([1, 2], index=[1, 2]), pd.Series([1, 2], dtype="Int64"), [1, 2],
        pd.Series([1, None], dtype="Int64"), pd.Series([1, 0], dtype="Int64"),
        pd.Series([1, None], dtype="Float64"), pd.Series([1, None]), pd.array([1, 2]),
        pd.arrays.SparseArray([1, 2]),
    ],
    "texts of pandas": [
        pd.Series(["a", None], dtype=kind) for kind in ("string", object, "category")
    ],
    "missing values": [pd.NA, pd.NaT, float("nan"), None, np.datetime64("NaT")],
    "categories": [
        pd.Categorical(["a"]), pd.Categorical(["a"], ["a", "b"]), pd.Categorical(["a"], ["b", "a"]),
        pd.Categorical(["a"], ["a", "b"], ordered=True), pd.Categorical([None], ["a"]),
    ],
    "times of pandas": [
        pd.date_range("2020", periods=2), pd.date_range("2020", periods=2, tz="UTC"),
        pd.date_range("2020", periods=2, tz="Europe/Paris"), pd.period_range("2020", periods=2),
        pd.date_range("2020", periods=2, freq="h"), pd.timedelta_range("1D", periods=2),
        pd.DatetimeIndex(["2020-01-01", "2020-01-02"]), pd.interval_range(0, 2),
        pd.interval_range(0, 2, closed="left"), pd.period_range("2020", periods=2, freq="M"),
    ],
    "levels": [
        pd.MultiIndex.from_product([[1], [2, 3]]), pd.MultiIndex.from_product([[1], [2, 4]]),
        pd.MultiIndex.from_product([[1], [2, 3]], names=["a", "b"]), pd.Index([(1, 2), (1, 3)],
        tupleize_cols=False),
    ],
    "generators of random numbers": [
        np.random.default_rng(0), np.random.default_rng(1), np.random.RandomState(0),
        changed(lambda: np.random.default_rng(0), lambda value: value.random()),
    ],
    "estimators": [
        LogisticRegression(), LogisticRegression(C=2.0), DecisionTreeClassifier(random_state=0),
        DecisionTreeClassifier(random_state=0).fit([[0], [1]], [0, 1]),
        DecisionTreeClassifier(random_state=0).fit([[0], [1]], [1, 0]),
        DecisionTreeClassifier(random_state=0).fit([[0], [2]], [0, 1]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("claim", DIFFERENT)
def test_these_are_all_different(claim: str) -> None:
    values = DIFFERENT[claim]
    digests = [of_value(value) for value in values]
    for (i, one), (j, other) in itertools.combinations(enumerate(digests), 2):
        assert one != other, (values[i], values[j])


def shared() -> list[list[int]]:
    inner = [1, 2]
    return [inner, inner]


def loop() -> list[object]:
    value: list[object] = [1]
    value.append(value)
    return value


def garbage(mask: int) -> np.ma.MaskedArray:
    return np.ma.array([1, 2, mask], mask=[0, 0, 1])


def padded(fill: int) -> np.ndarray:
    value = np.frombuffer(bytes([fill]) * 32, np.dtype([("a", "i1"), ("b", "i8")], align=True))
    value = value.copy()
    value["a"], value["b"] = 1, 2
    return value


SAME: dict[str, list[object]] = {
    "order of attributes": [Plain(a=1, b=2), Plain(b=2, a=1)],
    "order of slots": [slotted("ab"), slotted("ba")],
    "order of attributes that a class picks": [Picking(a=1, b=2), Picking(b=2, a=1)],
    "order of attributes of a dict": [
        changed(Table, lambda value: value.__dict__.update(a=1, b=2)),
        changed(Table, lambda value: value.__dict__.update(b=2, a=1)),
    ],
    "order of names in a namespace": [
        types.SimpleNamespace(a=1, b=2), types.SimpleNamespace(b=2, a=1),
    ],
    "order of keyword arguments": [
        functools.partial(max, default=1, key=len), functools.partial(max, key=len, default=1),
    ],
    "order of a set": [{"a", "b", "c", 1}, {1, "c", "b", "a"}],
    "history of a set": [{8, 0}, changed(lambda: set(range(9)), lambda v: v.__iand__({0, 8}))],
    "shared or copied": [shared(), [[1, 2], [1, 2]], copy.deepcopy(shared())],
    "shared arrays": [[np.arange(3)] * 2, [np.arange(3), np.arange(3)]],
    "interning": ["a" * 50, "".join(["a"] * 50), ("a" * 51)[:50]],
    "cycles": [loop(), loop(), copy.deepcopy(loop())],
    "contiguous or not": [
        np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(12).reshape(2, 6)[:, ::2] // 2, np.arange(6)[::-1][::-1].reshape(2, 3),
    ],
    "read-only": [np.arange(3), changed(lambda: np.arange(3), lambda v: v.setflags(write=False))],
    "big strided": [np.ones((3000, 3000))[:, ::2].copy(), np.ones((3000, 3000))[:, ::2]],
    "not a number": [float("nan"), float("nan"), np.nan],
    "arrays of nan": [np.array([np.nan, 1]), np.array([float("nan"), 1])],
    "under a mask": [garbage(3), garbage(4)],
    "parts under a mask": [
        np.ma.array([(1, rubbish)], dtype="i4,i4", mask=[(0, 1)]) for rubbish in (3, 4)
    ],
    "padding": [padded(0), padded(255)],
    "blocks of a frame": [
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}), pd.DataFrame(np.array([[1, 3], [2, 4]]),
        columns=["a", "b"]), changed(lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.insert(
            1, "b", [3, 4]
        )),
    ],
    "data under a missing value": [
        pd.array([1, None]), changed(lambda: pd.array([1, 5]), lambda v: v.__setitem__(1, pd.NA)),
    ],
    "pickled": [
        [frame(), Plain(a=1), Pair(1, 2)], pickle.loads(pickle.dumps([frame(), Plain(a=1),
        Pair(1, 2)])),
    ],
    "estimators fitted twice": [
        DecisionTreeClassifier(random_state=0).fit([[0], [1]], [0, 1]) for _ in range(2)
    ],
    "own fingerprint": [Own(1), Own(1)],
    "memory maps of different names": [memoryview(b"ab"), memoryview(bytearray(b"ab"))],
    "equal instances": [Slotted(1), Slotted(1)],
    "loggers": [__import__("logging").getLogger("a")] * 2,
    "bare objects": [object(), object()],
}  # fmt: skip


@pytest.mark.parametrize("claim", SAME)
def test_these_are_the_same(claim: str) -> None:
    assert len({of_value(value) for value in SAME[claim]}) == 1


def test_a_digest_names_its_algorithm() -> None:
    assert Digest.parse(of_value(1)).algorithm == "xxh3"


def test_a_set_of_tensors_of_one_value_is_seen_in_full() -> None:
    array_ = np.zeros(1_000_000)
    before = of_value(array_)
    array_[777_777] = 1
    assert of_value(array_) != before


def _open() -> object:
    return open("/dev/null")


async def coroutine() -> None: ...


KEPT = Plain()
UNSTABLE = [
    _open, threading.Lock, threading.RLock, threading.local, threading.Thread, socket.socket,
    lambda: iter([]), lambda: (x for x in []), lambda: map(len, []), lambda: zip([]),
    lambda: enumerate([]), lambda: reversed([]), lambda: itertools.count(), lambda: {}.keys(),
    lambda: weakref.ref(Plain()), lambda: weakref.WeakValueDictionary({1: KEPT}),
    lambda: memoryview(b"a").toreadonly().__iter__(),
    lambda: subprocess.Popen(["true"], stdin=subprocess.PIPE),
]  # fmt: skip


@pytest.mark.parametrize("make", UNSTABLE)
@pytest.mark.filterwarnings("ignore")
def test_a_handle_has_no_fingerprint(make) -> None:
    value = make()
    with pytest.raises(NoFingerprintError) as error:
        of_value({"model": Plain(hook=[value])}, name="inputs")
    assert error.value.path.startswith("inputs['model'].hook[0]")
    for name in ("close", "wait"):
        getattr(value, name, lambda: None)() if not isinstance(value, threading.Thread) else None


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda x: x, "value"),
        (lambda x: [0, 1, 2, {"a": x}], "value[3]['a']"),
        (lambda x: Plain(hook=x), "value.hook"),
        (lambda x: Point(x), "value.x"),
        (lambda x: np.array([0, x], object), "value[1]"),
        (lambda x: pd.DataFrame({"c": [x]}), "value['c'][0]"),
        (lambda x: collections.OrderedDict(k=x), "value['k']"),
        (lambda x: {(1, 2): x}, "value[...]"),
    ],
)
def test_an_error_names_the_path(make, path: str) -> None:
    with pytest.raises(NoFingerprintError, match="lock") as error:
        of_value(make(threading.Lock()))
    assert error.value.path == path


def test_what_is_nested_too_deeply_has_no_fingerprint() -> None:
    value: list[object] = []
    for _ in range(10_000):
        value = [value]
    with pytest.raises(NoFingerprintError, match="deep"):
        of_value(value)


def test_what_shares_a_lot_is_visited_once() -> None:
    value: list[object] = []
    for _ in range(100):
        value = [value, value]
    assert of_value(value) == of_value(copy.deepcopy(value))


def test_what_refers_to_each_other_too_often_is_given_up() -> None:
    nodes: list[list[object]] = [[] for _ in range(30)]
    for node in nodes:
        node.extend(nodes)
    with pytest.raises(NoFingerprintError, match="refer to each other"):
        of_value(nodes)


def test_a_fingerprint_of_ones_own_that_fails_says_so() -> None:
    class Bad:
        def __fingerprint__(self) -> object:
            raise RuntimeError("no")

    with pytest.raises(NoFingerprintError, match="RuntimeError"):
        of_value(Bad())


SHOWN = "of_value([{'a', 'b', 1, None}, frozenset('xyz'), {'k': {1, 2}, 'j': main.C()}, main.f])"


def test_a_value_has_one_digest_in_all_processes(world: World) -> None:
    world.write(main="class C:\n    def __init__(self): self.s = {'a', 'b'}\ndef f(): return {'a'}")
    values = {world.look(SHOWN).value for _ in range(4)}
    assert len(values) == 1


def test_the_class_of_an_instance_counts_by_name_only(world: World) -> None:
    text = "class C:\n    def m(self): return 1"
    before, after = world.both(
        {"main.py": text}, {"main.py": text.replace("1", "2")}, show="of_value(main.C())"
    )
    assert before.value == after.value


def test_a_function_that_is_a_value_counts_with_its_code(world: World) -> None:
    text = "def g(): return 1\ndef f(): return g()"
    before, after = world.both(
        {"main.py": text}, {"main.py": text.replace("1", "2")}, show="of_value({'hook': main.f})"
    )
    assert before.value != after.value


def typed(value: object) -> object:
    """Return what two values must share to be the same: types, order where it counts."""
    if isinstance(value, float):
        return float, struct.pack("d", value)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(typed(item) for item in value)
    if isinstance(value, dict):
        return dict, tuple((typed(key), typed(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(typed(item) for item in value)
    return type(value), value


SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.integers() | st.floats(allow_nan=False)
    | st.text("ab", max_size=3) | st.binary(max_size=2)
)  # fmt: skip
KEYS = st.text("ab", max_size=2) | st.integers(-1, 1) | st.none() | st.tuples(st.booleans())
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=3) | st.frozensets(KEYS, max_size=3)
        | st.lists(SCALARS, min_size=8, max_size=12) | st.lists(st.integers(0, 1), min_size=9)
    ),
    max_leaves=8,
)  # fmt: skip


@dataclasses.dataclass
class Settings:
    rate: float
    names: list[str]


@given(VALUES, VALUES)
@settings(max_examples=400, deadline=None)
def test_digests_are_equal_exactly_if_values_are(one: object, other: object) -> None:
    assert (of_value(one) == of_value(other)) == (typed(one) == typed(other))


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_a_copy_has_the_same_digest(value: object) -> None:
    assert of_value(pickle.loads(pickle.dumps(value))) == of_value(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        ("a", "'a'"),
        (np.zeros((3, 4)), "ndarray(3, 4) float64"),
        (pd.DataFrame({"a": [1, 2]}), "DataFrame(2, 1)"),
        ([1, 2], "[1, 2]"),
        (list(range(100)), "list of 100"),
        ({"a": 1}, "{'a': 1}"),
        ({"a": {"b": [1, None]}}, "{'a': {'b': [1, None]}}"),
        ({"a": {1, 2}}, "dict of 1"),
        ([[[[[1]]]]], "list of 1"),
        ([10**5000], "list of 1"),
        (10**1000, "int of 3322 bits"),
        (Settings(0.1, ["a"]), "Settings(rate=0.1, names=['a'])"),
        (len, "len()"),
        (Plain(), "tests.fingerprint.test_values.Plain"),
        ("x" * 100, "'" + "x" * 34 + "..." + "x" * 20 + "'"),
    ],
)
def test_a_summary_is_one_short_line(value: object, text: str) -> None:
    assert summary(value) == text
