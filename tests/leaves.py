"""Values of many kinds, and a description by which two of a kind are equal, sharing included."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Make = Callable[[], Any]


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Fitted:
    name: str
    weights: Any
    more: list[Any] = field(default_factory=list)


class Color(enum.Enum):
    RED = 1
    BLUE = "b"


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b


class TaggedList(list):  # type: ignore[type-arg]
    pass


def _tagged() -> TaggedList:
    made = TaggedList([1, 2])
    made.tag = "t"  # type: ignore[attr-defined]
    return made


def _shared_list() -> Any:
    inner = [1, np.arange(3)]
    return {"a": inner, "b": (inner, inner[1])}


def _cycle() -> Any:
    made: list[Any] = [np.ones(2)]
    made.append(made)
    return made


PLAIN: dict[str, Make] = {
    "none": lambda: None,
    "numbers": lambda: [0, -1, 2**64, -(2**200), 1.5, float("inf"), 1 + 2j, True],
    "nan": lambda: {"nan": float("nan"), "zero": -0.0},
    "text": lambda: ["", "a", "ü€\U0001f600", "a" * 100_000],
    "bytes": lambda: [b"", b"a", bytes(range(256)) * 10],
    "bytearray": lambda: [bytearray(), bytearray(b"abc" * 1000)],
    "keys": lambda: {1: "a", "1": "b", (1, 2): "c", None: "d", 1.5: "e", Color.RED: "f"},
    "order": lambda: {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
    "ordered": lambda: collections.OrderedDict([("b", 1), ("a", 2)]),
    "default": lambda: collections.defaultdict(list, {"a": [1]}),
    "counter": lambda: collections.Counter("abca"),
    "deque": lambda: collections.deque([1, 2, 3], maxlen=5),
    "sets": lambda: [{1, 2}, frozenset({"a"}), set()],
    "tuples": lambda: ((), (1,), ((1, 2), [3])),
    "named": lambda: Point(1, Point(np.ones(3), None)),
    "dataclass": lambda: Fitted("a", np.arange(5.0), [Fitted("b", None)]),
    "slots": lambda: Slotted(1, [2]),
    "enum": lambda: [Color.RED, {Color.BLUE: 1}],
    "times": lambda: [
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
        datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
        datetime.date(2026, 1, 2),
        datetime.timedelta(days=1, microseconds=3),
    ],
    "library": lambda: [
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        pathlib.PurePosixPath("a/b"),
        uuid.UUID(int=5),
        range(3, 9, 2),
        slice(1, None, 2),
        functools.partial(int, base=2),
        complex("nan"),
    ],
    "tagged": _tagged,
    "shared list": _shared_list,
    "types": lambda: [int, Point, np.float32, len],
    "array": lambda: np.arange(1000.0),
    "large array": lambda: np.arange(200_000.0),
    "arrays": lambda: [np.arange(100, dtype=each) for each in "bBhHiIlLqQefdFD"],
    "booleans": lambda: np.arange(100) % 3 == 0,
    "column order": lambda: np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": lambda: np.arange(1000.0)[::3],
    "transposed": lambda: np.arange(1000.0).reshape(10, 10, 10).transpose(2, 0, 1),
    "negative strides": lambda: np.arange(100)[::-1],
    "empty array": lambda: [np.zeros((0, 3)), np.zeros(0, "U5")],
    "0-d": lambda: [np.array(5.0), np.float32(1.5), np.int64(7), np.bool_(True)],
    "big-endian": lambda: np.arange(100, dtype=">i4"),
    "structured": lambda: np.array([(1, 2.5, b"ab")] * 30, [("a", "i4"), ("b", "f8"), ("c", "S2")]),
    "record": lambda: np.rec.array([(1, 2.0)] * 20, dtype=[("a", "i4"), ("b", "f8")]),
    "objects": lambda: np.array([1, "a", None, [1, 2]], dtype=object),
    "strings": lambda: [np.array(["a", "bcd"] * 20), np.array([b"a", b"bcd"] * 20)],
    "moments": lambda: np.arange(20).astype("M8[s]"),
    "spans": lambda: np.arange(20).astype("m8[ms]"),
    "masked": lambda: np.ma.masked_array(np.arange(50.0), np.arange(50) % 2 == 0),
    "same array": lambda: (lambda a: {"a": a, "b": [a, a]})(np.arange(100.0)),
    "generator": lambda: np.random.default_rng(3),
    "nested": lambda: {"model": {"layers": [{"w": np.ones((4, 4)), "b": np.zeros(4)}] * 2}},
}


def _views(torch: Any) -> Any:
    base = torch.arange(100.0)
    return {"base": base, "row": base[10:20], "grid": base.view(10, 10).t(), "cell": base[5]}


def _module(torch: Any) -> Any:
    torch.manual_seed(0)
    made = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
    made.register_buffer("scale", torch.ones(3))
    return made


def _tied(torch: Any) -> Any:
    made = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    made[1].weight = made[0].weight
    return {"module": made, "state": made.state_dict()}


def _trained(torch: Any) -> Any:
    module = _module(torch)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    module(torch.arange(32.0).view(4, 8)).sum().backward()
    optimizer.step()
    return {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": torch.optim.lr_scheduler.StepLR(optimizer, 2).state_dict(),
        "random": torch.get_rng_state(),
        "epoch": 3,
    }


def _quantized(torch: Any) -> Any:
    try:
        return [
            torch.quantize_per_tensor(torch.arange(100.0), 0.5, 3, torch.qint8),
            torch.quantize_per_channel(
                torch.arange(12.0).view(3, 4), torch.rand(3), torch.zeros(3), 0, torch.quint8
            ),
        ]
    except (RuntimeError, AttributeError):
        return None  # Newer ones of torch have none.


def _tagged_tensor(torch: Any) -> Any:
    made = torch.ones(20)
    made.tag = "t"
    return made


def _storages(torch: Any) -> Any:
    tensor = torch.arange(50.0)
    return [tensor, tensor.untyped_storage(), torch.zeros(3, dtype=torch.uint16).untyped_storage()]


def _shared_over_dtypes(torch: Any) -> Any:
    base = torch.arange(64, dtype=torch.uint8)
    return [base, base.view(torch.float8_e5m2), base.view(torch.float32), base.view(torch.uint16)]


_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
    *("bool", "complex64", "complex128", "float8_e4m3fnuz", "float8_e5m2fnuz"),
)

_OF_TORCH: dict[str, Callable[[Any], Any]] = {
    **{
        name: lambda torch, name=name: torch.arange(100).to(getattr(torch, name))
        for name in _DTYPES
    },
    "large": lambda torch: torch.arange(500_000.0),
    "non-contiguous": lambda torch: torch.arange(100.0).view(10, 10).t()[2:, ::3],
    "expanded": lambda torch: torch.arange(3.0).view(3, 1).expand(3, 50),
    "zero-size": lambda torch: [torch.zeros(0), torch.zeros(3, 0, dtype=torch.float8_e5m2)],
    "scalar": lambda torch: [torch.tensor(1.5), torch.tensor(True)],
    "channels last": lambda torch: torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "parameter": lambda torch: torch.nn.Parameter(torch.ones(50)),
    "frozen": lambda torch: torch.nn.Parameter(torch.ones(50), requires_grad=False),
    "requires grad": lambda torch: torch.ones(50, requires_grad=True),
    "buffer": lambda torch: torch.nn.ParameterList([torch.ones(3), torch.ones(40)]),
    "coo": lambda torch: torch.eye(50).to_sparse(),
    "coo, not coalesced": lambda torch: torch.sparse_coo_tensor(
        torch.tensor([[0, 0, 1]]), torch.ones(3), (4,)
    ),
    "csr": lambda torch: torch.eye(50).to_sparse_csr(),
    "csc": lambda torch: torch.eye(50).to_sparse_csc(),
    "bsr": lambda torch: torch.eye(50).to_sparse_bsr((5, 5)),
    "quantized": _quantized,
    "conjugate": lambda torch: torch.ones(20, dtype=torch.complex64).conj(),
    "negative": lambda torch: torch.ones(20, dtype=torch.complex64).conj().imag,
    "tagged tensor": _tagged_tensor,
    "module": _module,
    "state dict": lambda torch: _module(torch).state_dict(),
    "tied": _tied,
    "trained": _trained,
    "views": _views,
    "same tensor": lambda torch: (lambda a: {"a": a, "b": [a, a.detach()]})(torch.ones(50)),
    "shared over dtypes": _shared_over_dtypes,
    "storages": _storages,
    "meta": lambda torch: torch.ones(3, device="meta"),
    "sizes": lambda torch: [torch.Size([1, 2]), torch.float32, torch.device("cpu")],
    "with arrays": lambda torch: {
        "t": torch.ones(30),
        "a": np.arange(500.0)[::2],
        "d": Fitted("x", torch.zeros(20), [Point(torch.ones(3), np.ones(4))]),
        "s": np.array([(1, 2.5)] * 30, [("a", "i4"), ("b", "f8")]),
        "o": np.array([torch.ones(3), "a"], dtype=object),
    },
    "of numpy": lambda torch: torch.from_numpy(np.arange(500.0)),
    "random": lambda torch: torch.Generator().manual_seed(3).get_state(),
    "fitted": lambda torch: Fitted("n", torch.nn.Linear(3, 3, dtype=torch.bfloat16)),
}
TORCH = tuple(_OF_TORCH)


def make(name: str) -> Any:
    """Return a new value of a kind."""
    if name in PLAIN:
        return PLAIN[name]()
    import torch

    return _OF_TORCH[name](torch)


def described(value: Any) -> Any:
    """Return plain data that is equal for equal values with equal sharing in them."""
    return _Describer().describe(value)


def _bytes(storage: Any) -> bytes:
    import torch

    return bytes(torch.tensor([], dtype=torch.uint8).set_(storage).numpy())


class _Describer:
    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        self._alive: list[Any] = []

    def _number(self, key: Any, value: Any) -> int:
        self._alive.append(value)
        return self._known.setdefault(key, len(self._known))

    def describe(self, value: Any) -> Any:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if value is None or isinstance(
            value, (str, bytes, int, float, complex, type, np.generic, enum.Enum)
        ):
            return kind, repr(value)
        if id(value) in self._known:
            return kind, "again", self._known[id(value)]
        self._number(id(value), value)
        return kind, self._content(value, kind), self._attributes(value)

    def _attributes(self, value: Any) -> Any:
        return [
            (name, self.describe(each)) for name, each in getattr(value, "__dict__", {}).items()
        ]

    def _content(self, value: Any, kind: str) -> Any:
        if hasattr(value, "untyped_storage") or kind.startswith("torch.storage"):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            items = value.tolist() if value.dtype.hasobject else value.tobytes()
            mask = self.describe(value.mask) if isinstance(value, np.ma.MaskedArray) else None
            order = np.isfortran(value)
            return repr(value.dtype), value.shape, order, self.describe(items), mask
        if isinstance(value, Mapping):
            return [(self.describe(key), self.describe(each)) for key, each in value.items()]
        if isinstance(value, (set, frozenset)):
            return sorted(map(repr, value))
        if isinstance(value, (list, tuple, collections.deque)):
            return list(map(self.describe, value))
        if hasattr(value, "__slots__") and type(value) is Slotted:
            return [self.describe(value.a), self.describe(value.b)]
        if isinstance(value, np.random.Generator):
            return self.describe(value.bit_generator.state)
        return None if getattr(value, "__dict__", None) else repr(value)

    def _tensor(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.UntypedStorage):
            return self._number(value._cdata, value), _bytes(value)
        layout = value.layout
        facts = str(value.dtype), tuple(value.shape), str(layout), value.requires_grad
        if layout == torch.sparse_coo:
            parts = [value._indices(), value._values()]
            return *facts, value.is_coalesced(), *map(self.describe, parts)
        if layout in (torch.sparse_csr, torch.sparse_bsr):
            parts = [value.crow_indices(), value.col_indices(), value.values()]
            return *facts, *map(self.describe, parts)
        if layout == torch.sparse_csc:
            parts = [value.ccol_indices(), value.row_indices(), value.values()]
            return *facts, *map(self.describe, parts)
        if value.device.type == "meta":
            return *facts, value.stride()
        storage = value.untyped_storage()
        bits = value.is_conj(), value.is_neg(), value.is_quantized and str(value.qscheme())
        place = value.stride(), value.storage_offset(), self._number(storage._cdata, storage)
        return *facts, *bits, *place, _bytes(storage)
