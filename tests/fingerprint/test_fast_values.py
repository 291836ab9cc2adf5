"""Fast paths for values: the digests that slower ones gave, and the same paths to an error."""

from __future__ import annotations

import abc
import array
import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import math
import threading
import types
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import of_value
from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.project import Anchors
from memoflow.fingerprint.values import Encoder


class Bare:
    def __init__(self, **state: object) -> None:
        self.__dict__.update(state)


class Heir(Bare):
    kind = "class attribute"

    @property
    def size(self) -> int:
        return len(self.__dict__)


class Abstract(Bare, abc.ABC):
    pass


class Meta(type):
    pass


class OfMeta(Bare, metaclass=Meta):
    pass


class Stating(Bare):
    def __getstate__(self) -> dict[str, object]:
        return {"kept": dict(self.__dict__)}


class Setting(Bare):
    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)


class Reducing(Bare):
    def __reduce__(self) -> tuple[object, ...]:
        return Reducing, (), dict(self.__dict__)


class Filling(Bare):
    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return Filling, (1,), None, iter([1, 2]), iter([("a", 1)])


class Arguing(Bare):
    def __getnewargs__(self) -> tuple[object, ...]:
        return (1, "x")


class Answering(Bare):
    def __getattr__(self, name: str) -> object:
        if name == "__getnewargs_ex__":
            return lambda: ((), {"k": 1})
        raise AttributeError(name)


class Hiding(Bare):
    @property
    def __dict__(self) -> dict[str, object]:
        return {"shown": 1}


class Registered(Bare):
    pass


copyreg.pickle(Registered, lambda value: (Registered, (), dict(value.__dict__)))


class Slotted:
    __slots__ = ("a", "b")


class HalfSlotted:
    __slots__ = ("__dict__", "a")


class Named:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __fingerprint__(self) -> object:
        return self.answer


class Rows(list):
    pass


class Row(tuple):
    pass


class Table(dict):
    pass


class Number(int):
    pass


class Text(str):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Bits(enum.IntFlag):
    X = 1
    Y = 2


@dataclasses.dataclass
class Point:
    x: object
    y: object = 1
    name: object = "point"


@dataclasses.dataclass
class Space(Point):
    z: object = None


@dataclasses.dataclass(frozen=True)
class Frozen:
    b: object
    a: object


@dataclasses.dataclass(slots=True)
class Slim:
    x: object
    y: object


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlim:
    x: object
    y: object


Pair = collections.namedtuple("Pair", "a b")


def changed(value: Any, change: Callable[[Any], object]) -> Any:
    change(value)
    return value


def ring() -> list[Bare]:
    nodes = [Bare(number=number) for number in range(4)]
    for node, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        node.following = following
    return nodes


def set_slots(value: Any, **slots: object) -> Any:
    for name, item in slots.items():
        setattr(value, name, item)
    return value


def chain(levels: int) -> Bare:
    value = Bare(level=0)
    for level in range(1, levels):
        value = Bare(level=level, below=value)
    return value


SHARED = Point([1, "two"])
CORPUS: dict[str, Callable[[], object]] = {
    "singletons": lambda: [None, True, False, ..., NotImplemented],
    "small ints": lambda: [*range(-300, 1100, 7), None],
    "ints": lambda: [
        edge + more
        for bits in (7, 8, 15, 16, 31, 32, 55, 56, 63, 64, 100, 4000)
        for edge in (2**bits, -(2**bits))
        for more in (-1, 0, 1)
    ],
    "ints of a dict": lambda: {sign * 2**i: sign * 2**i + 1 for i in range(70) for sign in (1, -1)},
    "floats": lambda: [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, None],
    "floats alone": lambda: [0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, 1.0, 2.0],
    "zero": lambda: 0.0,
    "minus zero": lambda: -0.0,
    "complex": lambda: [1j, complex(-0.0, 0.0)],
    "texts": lambda: ["", "a", "\0", "é", "☃", "𝄞", "%b", "\ud800", "a\udfffb", None],
    "texts alone": lambda: ["", "a", "\0", "é", "☃", "𝄞", "%b", "\ud800", "a\udfffb"],
    "lengths of texts": lambda: {"a" * n: "é" * n for n in range(70)},
    "lengths of ASCII": lambda: {"a" * n: "b" * n for n in range(64)},
    "longer ASCII": lambda: {"a" * n: "b" * n for n in range(70)},
    "surrogates in a dict": lambda: {f"{i}\ud800": "\udfff" * i for i in range(12)},
    "surrogates in one of many": lambda: {f"k{i}": "\ud800" * (i == 7) for i in range(12)},
    "bytes": lambda: [b"", b"a" * 64, b"a" * 65, bytearray(b"a" * 64), bytearray(65)],
    "dict of texts": lambda: {f"key-{i}": f"value-{i}" for i in range(5000)},
    "dict of ints": lambda: {f"key-{i}": i for i in range(5000)},
    "dict of scalars": lambda: {i: (None, True, i, i / 2, str(i))[i % 5] for i in range(3000)},
    "dict with a list": lambda: {i: [i] if i == 1500 else i for i in range(3000)},
    "dict with a list late": lambda: {i: [i] if i == 2999 else str(i) for i in range(3000)},
    "dict with a list early": lambda: {i: [i] if i == 0 else str(i) for i in range(3000)},
    "dict of tuples": lambda: {(i, str(i)): (i,) for i in range(2100)},
    "dict of eight": lambda: {str(i): i for i in range(8)},
    "dict of nine": lambda: {str(i): i for i in range(9)},
    "dict the other way round": lambda: {str(i): i for i in reversed(range(9))},
    "keys of many kinds": lambda: {
        None: 1, True: 2, 5: 3, 1.5: 4, "t": 5, b"b": 6, (1, "x"): 7, frozenset({1}): 8,
        Color.RED: 9, Frozen(1, "a"): 10, Text("s"): 11, Number(9): 12,
    },
    "empty": lambda: [[], (), {}, set(), frozenset(), "", b""],
    "mixed list": lambda: [1, "a", None, 2.5, [1, [2, [3]]], (4,), {"k": [5]}] * 3,
    "long mixed list": lambda: [i if i % 3 else [str(i)] for i in range(2500)],
    "list of bools": lambda: [True, False] * 10,
    "list of large ints": lambda: [2**70 + i for i in range(10)],
    "tuples": lambda: [(), (1,), (1, (2, (3,))), tuple(range(20)), tuple("abcdefghijk")],
    "sets": lambda: [{1, "a", None, (1, 2)}, frozenset({frozenset({1}), 2.5}), set(range(20))],
    "subclasses": lambda: [
        Rows([1, 2]), Row((1, 2)), Table(a=1), Number(4), Text("t"), set_slots(Rows([1]), mark="m"),
        set_slots(Table(a=[1]), mark=[1]),
    ],
    "collections": lambda: [
        collections.OrderedDict(a=1, b=[2]), collections.defaultdict(None, a=[1]),
        collections.Counter("aab"), collections.deque([1, 2], 5), collections.UserDict(a=1),
        collections.ChainMap({"a": 1}), types.MappingProxyType({"a": [1]}),
    ],
    "large subclasses of dict": lambda: [
        Table((i, str(i)) for i in range(1500)),
        collections.OrderedDict((str(i), i) for i in range(1500)),
    ],
    "named tuple": lambda: [Pair(1, "b"), Pair([1], Pair(2, None))],
    "enums": lambda: [Color.RED, Color.BLUE, Bits.X],
    "ranges": lambda: [range(3), range(0, 9, 2), slice(1, None, 2)],
    "numbers": lambda: decimal.Decimal("1.50"),
    "times": lambda: [
        datetime.date(2020, 1, 2), datetime.timedelta(1, 2),
        datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.timezone.utc),
    ],
    "names": lambda: uuid.UUID(int=5),
    "buffers": lambda: [array.array("i", [1, 2]), memoryview(b"ab")],
    "namespace": lambda: types.SimpleNamespace(b=1, a=[2]),
    "exception": lambda: ValueError("a", 1),
    "array": lambda: [np.arange(6.0).reshape(2, 3), np.array([1, "a"], object), np.float32(1.5)],
    "plain instance": lambda: Bare(b=1, a="two", c=None, d=1.5, e=[1], f={"k": 1}, g=True),
    "one attribute": lambda: Bare(a=1),
    "many attributes": lambda: Bare(**{f"name{i}": i for i in range(100)}),
    "attributes of other names": lambda: Bare(**{"é": 1, "z" * 70: 2, "\ud800": 3, "": 4}),
    "heir with a property": lambda: Heir(a=1, b="x"),
    "abstract": lambda: Abstract(a=1),
    "class of a metaclass": lambda: OfMeta(a=1),
    "classes side by side": lambda: [Bare(a=1), Heir(a=1), Abstract(a=1), Bare(a=1, b=2)] * 2,
    "attributes in another order": lambda: [Bare(a=1, b=2), Bare(b=2, a=1), Bare(c=1), Bare(a=3)],
    "attribute in place of a method": lambda: Bare(a=1, __setstate__=2),
    "attribute that is no name": lambda: changed(Bare(a=1), lambda each: vars(each).update({1: 2})),
    "attribute named by a subclass": lambda: [
        Bare(a=1), changed(Bare(), lambda each: vars(each).update({Text("a"): 1})), Bare(a=1),
    ],
    "attributes in a subclass": lambda: changed(
        Bare(), lambda each: setattr(each, "__dict__", Table(a=1))
    ),
    "identity of a list": lambda: Bare(_stop_words_id=1 << 40, a=1),
    "own state": lambda: Stating(a=1),
    "own setting": lambda: Setting(a=1),
    "own reduction": lambda: Reducing(a=1),
    "items of a reduction": lambda: Filling(a=1),
    "arguments for new": lambda: Arguing(a=1),
    "arguments answered": lambda: Answering(a=1),
    "registered reduction": lambda: Registered(a=1),
    "hidden attributes": lambda: Hiding(),
    "slots": lambda: [set_slots(Slotted(), a=1), set_slots(Slotted(), b=[1], a=2)],
    "slots and attributes": lambda: set_slots(HalfSlotted(), a=1, b=2),
    "own fingerprint": lambda: Named({"a": [1]}),
    "data class": lambda: Point(1, [2.5, Point("x")]),
    "data class that inherits": lambda: Space(1, 2, "s", z=(3,)),
    "frozen data class": lambda: Frozen(1, Frozen("x", None)),
    "data class of slots": lambda: Slim(1, Slim("x", None)),
    "frozen data class of slots": lambda: FrozenSlim(1, FrozenSlim("x", None)),
    "many data classes": lambda: [Point(i, str(i), [Frozen(i, -i)] * (i % 3)) for i in range(300)],
    "shared": lambda: [SHARED, SHARED, {"a": SHARED}, Bare(a=SHARED, b=SHARED)],
    "shared many times": lambda: [value := [1, Bare(a=2)], [value] * 20, (value, value)],
    "list in itself": lambda: changed([1], lambda each: each.append(each)),
    "dict in itself": lambda: changed({"a": 1}, lambda each: each.update(me=each)),
    "large dict in itself": lambda: changed(
        {i: i for i in range(1500)}, lambda each: each.update(me=each)
    ),
    "instance in itself": lambda: changed(Bare(a=1), lambda each: setattr(each, "me", [each])),
    "ring": lambda: ring(),
    "ring in a list": lambda: [*ring(), Bare(a=ring())],
    "parent and children": lambda: changed(
        Point("parent"),
        lambda each: setattr(each, "y", [Point(i, each, {"up": each}) for i in range(12)]),
    ),
    "nested lists": lambda: [[[[[[[[[[[1], 2], 3], 4], 5], 6], 7], 8], 9], 10], 11],
    "nested instances": lambda: chain(100),
}  # fmt: skip

# The keys of stored results depend on these: they never change.
DIGESTS = {
    "singletons": "70d1a6be97a10a146c0d08dd47f4edc2",
    "small ints": "1214e82ec61de214aaf2c09ecb77fe06",
    "ints": "575899d5a1ee280d15c21718f3841e71",
    "ints of a dict": "e56591b37443d3fb9f92d475837ad7e9",
    "floats": "cb49e8c866e55f4ad49fd596b3a165c7",
    "floats alone": "ed5843f5afd6d9257f7e99330a3a1e27",
    "zero": "116d0d22cc8173ec5f6531dcc0133311",
    "minus zero": "f6b43928ce5e5192820ab6b29963bd6b",
    "complex": "a41e80b34bb64d827a19b6d60aed2f85",
    "texts": "0ac2f9e55bccbdd51c5d6154191b03d7",
    "texts alone": "a85a74511dbd770521c6c10f52835a78",
    "lengths of texts": "04dedbc860cbf0e6dcb89c99c1ed4511",
    "lengths of ASCII": "c658765b22f4aca610c1c4c4fcad6871",
    "longer ASCII": "003f083d0b045183251a2c4c61309b1b",
    "surrogates in a dict": "c22a39203a43eb3c5fe0aed69b610301",
    "surrogates in one of many": "266f4ab3c344c2eb21dc5c114e26a88f",
    "bytes": "ee613791ef0f45a4e173ff0d2f6e74cd",
    "dict of texts": "80f753d13f13bd287fdc4c5a63868e3c",
    "dict of ints": "44f62b965bc82b7b9f21b0ab25ad84c5",
    "dict of scalars": "cb4f23df4a1f8e212778b4309de54d0e",
    "dict with a list": "e8a2f21dcf31f5478c0fb4f39b65daa2",
    "dict with a list late": "a87b8673ee029cbad3925ce194be7cb2",
    "dict with a list early": "41b7318df93f61b5476a5dba36b601cc",
    "dict of tuples": "c1a53f1879a5b4543a1fafc3c7319862",
    "dict of eight": "7f3c2d67d8bc2cc78cb2e5a897132ad2",
    "dict of nine": "cc5241a24a7bc81f5eb0f21f9a0f0638",
    "dict the other way round": "7dae8ab9964b389c607a9ece81e2f9e8",
    "keys of many kinds": "9744d7ad81d820d953c99712513fe62a",
    "empty": "0c566d53c0ff5b032b94a8ac7d6bd621",
    "mixed list": "e7694aeabef87cda14d11574c54b87c2",
    "long mixed list": "c4a3ff92886340a0f9610ad9076ec1fd",
    "list of bools": "cfb2938badd45475a714e155807b14fd",
    "list of large ints": "cf8403ada8009f3a8f163a531a60c0b3",
    "tuples": "e512059cc0aaab7918b142de81777db7",
    "sets": "58d19ec65f2747d58c397c5d0dba1f93",
    "subclasses": "5785461ed6ae81202af2808a8dd9c09d",
    "collections": "b3e5156e72619893b87481fd46d063b7",
    "large subclasses of dict": "61cff864fa2fae181ba7259f3c42b6c8",
    "named tuple": "c552c21bb38c20e477937bf7380a3562",
    "enums": "81f570808fc65c466a884fd11fb08d13",
    "ranges": "cb00532a438e6c705f315a80f6865541",
    "numbers": "050291031d00b297f29263e73b8ae71c",
    "times": "66d915f1995e1d12833984ae35db4be7",
    "names": "d6dd9301066e48086562c92bc9d0e56b",
    "buffers": "6bc22c28e3c26ad8231b308b8d9e0904",
    "namespace": "76a617bdd8a1759a59c7b2a44ebf54f5",
    "exception": "1227c158057358004eb673e2039f6108",
    "array": "f2e7f5b0265f687c201fe111480f438e",
    "plain instance": "2b71511432370f56d4b75413a40297f1",
    "one attribute": "e311349cd0d17cb9aa7972be9ed2d015",
    "many attributes": "7202ab7c2d05628da25138ae1e3be7f2",
    "attributes of other names": "b3c3a88f68b4f5813847895d23475c89",
    "heir with a property": "05b03306107bae7052b3cab801269732",
    "abstract": "8a4d19e1c4747fc72e50c8ad1f504ff9",
    "class of a metaclass": "9f2dbc57dbdf2ec5f36af4ce5ebd85c0",
    "classes side by side": "fff19245ddf2b0e247a4cecdb306d919",
    "attributes in another order": "54817b42ca80f0ee4c1aa0d6b0c0f886",
    "attribute in place of a method": "3c3b671de38f2f92407a59cf95566303",
    "attribute that is no name": "50092a0ceb927120c97353741127b18e",
    "attribute named by a subclass": "9c98f5c81f5459f5f34ea4561e58235e",
    "attributes in a subclass": "088a7fa8dc54cca4780473a39aa14897",
    "identity of a list": "d78392b9fe16e6772fec91fa108a754b",
    "own state": "601eb6646585dfe0c20047c5ebea9226",
    "own setting": "2a0d36091346dbc85896282a7fb8dbb7",
    "own reduction": "0647a7fc299e5d285efb0b64c5b2ca48",
    "items of a reduction": "999bb479f5141142d7ff7f080a3f2ea5",
    "arguments for new": "b3a53c229ab15006983415080cde7387",
    "arguments answered": "46a85bcb06579ae1af37be465c79f3de",
    "registered reduction": "eb942f42444a18b1f8d40b2a946fcd3b",
    "hidden attributes": "cd43a85f6e0fbb23956b6b6a0c03d07d",
    "slots": "72d2b144bb0c75c84b1a2d055b2c7c7c",
    "slots and attributes": "9ce2e2aa9fdb2fe261d748e739286590",
    "own fingerprint": "a9534e8bbaad7e0f615f2a2a2f00f946",
    "data class": "1a3212948e61f820d74826fd46c5324c",
    "data class that inherits": "45908fa24624441c2cff5bc0f5656961",
    "frozen data class": "bd4440e6bfc807534802361a8cfeafc9",
    "data class of slots": "a6e01ce3a505f18840b61abd1c9db70a",
    "frozen data class of slots": "5831cfe36b75e333b08e6a2f8091e0ae",
    "many data classes": "1336550849cb849c5e052533c8c479c2",
    "shared": "150fbd2da13848de0adb798aa901dacc",
    "shared many times": "7e3be9efcc2ffd6a9b48438bf44ee545",
    "list in itself": "3c1e7b9e2b5fc91c30233855a0581303",
    "dict in itself": "241612555d3bcc520e18a6c018cea6e5",
    "large dict in itself": "c12cc427cf89f550adb6a91618a037d8",
    "instance in itself": "164a4eb146b31d56758d28f301faaca7",
    "ring": "bf7a57d6cd73604e4639748293e7860a",
    "ring in a list": "4247382e42a154204b102cf2fe13497b",
    "parent and children": "ad64ee998957a534c6ad3946b578f9a7",
    "nested lists": "d1a9255f5f1463b1f9e8c761a1abaf80",
    "nested instances": "ef3f84568d0973f25bb44446dc0de992",
}


@pytest.mark.parametrize("name", CORPUS)
def test_a_digest_is_the_one_that_results_were_stored_by(name: str) -> None:
    assert of_value(CORPUS[name]()) == f"xxh3:{DIGESTS[name]}"


ERRORS: list[tuple[Callable[[Any], object], str]] = [
    (lambda bad: Bare(a=1, b=bad), "value.b"),
    (lambda bad: Bare(b=bad, a=(each for each in [])), "value.a"),
    (lambda bad: Point(1, Point(2, [0, bad])), "value.y.y[1]"),
    (lambda bad: Slim(1, [bad]), "value.y[0]"),
    (lambda bad: Reducing(a={"k": bad}), "value.a['k']"),
    (lambda bad: changed(Bare(), lambda each: vars(each).update({1: bad})), "value.1"),
    (lambda bad: changed(Bare(), lambda each: vars(each).update({(1,): bad})), "value[...]"),
    (lambda bad: {i: bad if i == 1500 else i for i in range(3000)}, "value[1500]"),
    (lambda bad: {f"k{i}": bad if i == 2999 else "" for i in range(3000)}, "value['k2999']"),
    (lambda bad: {(i,): bad if i == 20 else i for i in range(30)}, "value[...]"),
    (lambda bad: {i: {"x": [bad]} if i == 20 else i for i in range(30)}, "value[20]['x'][0]"),
    (lambda bad: {(i, bad) if i == 20 else i: i for i in range(30)}, "value[...][1]"),
    (lambda bad: {1: 2, (bad,): 3}, "value[...][0]"),
    (lambda bad: [[bad] if i == 2000 else i for i in range(2500)], "value[2000][0]"),
    (lambda bad: (1, (2, bad)), "value[1][1]"),
    (lambda bad: [1, {bad}], "value[1]{...}"),
    (lambda bad: Named([bad]), "value[0]"),
    (lambda bad: Table(a=bad), "value['a']"),
]


@pytest.mark.parametrize(("make", "path"), ERRORS)
def test_an_error_names_the_path_through_fast_ones(
    make: Callable[[object], object], path: str
) -> None:
    with pytest.raises(NoFingerprintError) as error:
        of_value(make(threading.Lock()))
    assert error.value.path == path


@pytest.mark.parametrize(
    ("wrap", "step"),
    [
        (lambda value: [value], "[0]"),
        (lambda value: {"k": value}, "['k']"),
        (lambda value: {**dict.fromkeys("abcdefghi"), "k": value}, "['k']"),
    ],
)
def test_an_error_names_the_path_to_the_deepest_level(
    wrap: Callable[[object], object], step: str
) -> None:
    value: object = 1
    for _ in range(201):
        value = wrap(value)
    with pytest.raises(NoFingerprintError, match="more than 200 levels deep") as error:
        of_value(value)
    assert error.value.path == "value" + 200 * step


def encoded(value: object, *given: Callable[[type], None]) -> object:
    """Return the encoding of a value, or the reason why it has none and the path to that."""
    try:
        return Encoder(lambda code: code.__qualname__, *given).encode(value)
    except Unstable as error:
        return str(error), error.steps


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-300, 1100) | st.floats()
    | st.text(max_size=5) | st.text(st.characters(), min_size=60, max_size=70)
    | st.sampled_from(["\ud800", "name", "%b"]) | st.binary(max_size=70)
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "name", "é", "__getstate__", "_stop_words_id", "__setstate__"])
CLASSES = st.sampled_from([Bare, Heir, Abstract, OfMeta, Stating, Setting, Reducing, Arguing])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text("ab", max_size=2), inner, max_size=12)
        | st.builds(Point, inner, inner, inner) | st.builds(Frozen, inner, inner)
        | st.builds(Slim, inner, inner)
        | st.builds(lambda cls, state: cls(**state), CLASSES, st.dictionaries(NAMES, inner))
        | inner.map(lambda value: [value, value, Bare(a=value, b=Point(value))])
    ),
    max_leaves=12,
)  # fmt: skip


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_plain_instances_are_encoded_as_by_their_reduction(value: object) -> None:
    # An encoder that reports the class of each instance asks each for its reduction.
    assert encoded(value) == encoded(value, lambda cls: None)


HERE = str(Path(__file__).parents[2])
TEXTS = st.text(max_size=3) | st.sampled_from([HERE, f"{HERE}/x", f"see {HERE}/x", "\ud800"])


@given(
    st.lists(st.tuples(TEXTS | st.integers(), TEXTS | SCALARS | st.just((1,))), max_size=40),
    st.sampled_from([0, 1010, 1020]),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_dict_is_encoded_as_its_pairs_are(
    items: list[tuple[object, object]], before: int, located: bool
) -> None:
    value = {**{f"key {i}": "value" for i in range(before)}, **dict(items)}
    anchors = Anchors((__file__,)) if located else None

    def mapping(held: Iterable[object]) -> bytes:
        return Encoder(lambda code: "", anchors=anchors).mapping(b"dict", held)

    assert mapping(value) == mapping(iter(value.items()))
