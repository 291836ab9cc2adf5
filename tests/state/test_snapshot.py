"""Claims: a state comes back equal, from views or copies, as a whole or in parts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow.errors import UsageError
from memoflow.pickling import UnreadBuffer
from memoflow.state import StateSnapshot, load, safetensors_parts, snapshot
from tests.leaves import PLAIN, TORCH, Fitted, Point, Slotted, described, make

needs_torch = pytest.mark.torch


class Reader:
    """Gives buffers of a snapshot, and counts them."""

    def __init__(self, of: StateSnapshot) -> None:
        self.of = of
        self.read: list[int] = []
        self.calls = 0

    def __call__(self, numbers: Sequence[int]) -> list[bytearray]:
        self.calls += 1
        self.read += numbers
        return [bytearray(self.of.leaves[each].buffer) for each in numbers]

    @property
    def size(self) -> int:
        return sum(self.of.leaves[each].buffer.nbytes for each in self.read)


def loaded(of: StateSnapshot, **options: Any) -> Any:
    # As files keep it.
    index = json.loads(json.dumps(of.index))
    return load(of.structure, index, Reader(of), **options)


def file_of(of: StateSnapshot) -> bytes:
    return b"".join(safetensors_parts(of))


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.parametrize("name", PLAIN)
def test_plain_states_come_back_equal(name: str) -> None:
    state = {"x": make(name), "y": [make("array"), Point(make(name), 3)]}
    assert described(loaded(snapshot(state))) == described(state)
    assert described(loaded(snapshot(state["x"]))) == described(make(name))


@needs_torch
@pytest.mark.parametrize("name", [*TORCH, *PLAIN])
def test_states_with_torch_come_back_equal(torch: Any, name: str) -> None:
    state = {"x": make(name), "y": [make("array"), Fitted("n", make(name))]}
    taken = snapshot(state)
    copied = taken.copied(bytearray(taken.copy_bytes))
    assert described(loaded(copied)) == described(state)
    assert described(loaded(copied, only=["x", "y"])) == described(state)


@needs_torch
@pytest.mark.parametrize("name", [*TORCH, *PLAIN])
def test_the_safetensors_package_reads_the_leaves(torch: Any, name: str) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    taken = snapshot({"x": make(name), "y": [make("array")]})
    found = safetensors.load(file_of(taken))
    assert set(found) == {leaf.name for leaf in taken.leaves}
    for leaf in taken.leaves:
        tensor = found[leaf.name]
        assert (tuple(tensor.shape), raw(torch, tensor)) == (leaf.shape, bytes(leaf.buffer))


def raw(torch: Any, tensor: Any) -> bytes:
    return bytes(torch.tensor([], dtype=torch.uint8).set_(tensor.untyped_storage()).numpy())


@needs_torch
@pytest.mark.parametrize(
    "dtype",
    [
        *("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
        *("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64"),
        *("bool", "complex64", "float8_e4m3fnuz", "float8_e5m2fnuz"),
    ],
)
def test_tensors_keep_their_dtype_and_shape_in_the_file(torch: Any, dtype: str) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    tensor = torch.arange(96).view(4, 24).to(getattr(torch, dtype))
    found = safetensors.load(file_of(snapshot({"a": {"w": tensor}})))["a.w"]
    assert described(found) == described(tensor)


@pytest.mark.parametrize("dtype", "bBhHiIlLefdF?")
def test_arrays_keep_their_dtype_and_shape_in_the_file(dtype: str) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    array = np.ones((4, 96), dtype=dtype)
    if dtype != "F":  # That package's numpy side has no complex numbers.
        assert described(safetensors.load(file_of(snapshot([array])))["0"]) == described(array)
    (leaf,) = snapshot([array]).leaves
    assert leaf.shape == (4, 96)


def test_the_file_is_that_of_the_format() -> None:
    state = {"a": np.arange(10.0), "n": 3, "b": b"x" * 65, "c": np.arange(100, dtype=">i4")}
    data = file_of(snapshot(state))
    length = int.from_bytes(data[:8], "little")
    assert (8 + length) % 64 == 0
    header = json.loads(data[8 : 8 + length])
    assert header == {
        "a": {"dtype": "F64", "shape": [10], "data_offsets": [0, 80]},
        "b": {"dtype": "U8", "shape": [65], "data_offsets": [80, 145]},
        "c": {"dtype": "U8", "shape": [400], "data_offsets": [145, 545]},
    }
    assert data[8 + length :] == state["a"].tobytes() + state["b"] + state["c"].tobytes()
    assert file_of(snapshot({"n": 1})).rstrip() == b"\x38" + bytes(7) + b"{}"


@needs_torch
def test_parts_and_buffers_are_views(torch: Any) -> None:
    tensor, array = torch.zeros(100), np.zeros(100)
    taken = snapshot({"t": tensor, "a": array, "b": bytearray(100)})
    tensor[0], array[0] = 1, 1
    _, *parts = safetensors_parts(taken)
    assert [any(each) for each in parts] == [True, True, False]


@needs_torch
def test_a_copy_keeps_what_was(torch: Any) -> None:
    state = {
        "t": torch.arange(99, dtype=torch.int8),
        "s": torch.eye(20).to_sparse(),
        "a": np.arange(5_000_000.0),
        "b": bytearray(b"abc" * 50),
        "c": b"const" * 50,
    }
    was = described(state)
    taken = snapshot(state)
    memory = bytearray(taken.copy_bytes + 10)
    copied = taken.copied(memory)
    state["t"].zero_()
    state["s"].values().zero_()
    state["a"][:] = 0
    state["b"][:] = bytes(150)
    assert described(loaded(copied)) == was
    assert described(loaded(taken)) == described(state)
    mine = np.frombuffer(memory, np.uint8).ctypes.data
    for leaf in copied.leaves:
        offset = np.frombuffer(leaf.buffer, np.uint8).ctypes.data - mine
        assert offset % 64 == 0 if leaf.name != "c" else not 0 <= offset < len(memory)


def test_too_little_memory_for_a_copy_is_an_error() -> None:
    taken = snapshot([np.zeros(100)])
    with pytest.raises(UsageError, match="needs 832 bytes"):
        taken.copied(bytearray(831))


def training() -> dict[str, Any]:
    return {
        "model": {"encoder.w": np.full(1000, 1.0), "encoder.b": np.full(100, 2.0), "n": 7},
        "opt": [{"m": np.full(2000, 3.0)}, (np.full(500, 4.0), 5)],
        "last": Point(np.full(300, 5.0), Fitted("f", np.full(400, 6.0))),
        "text": b"y" * 500,
        "epoch": 3,
        "losses": [0.5, 0.25],
    }


@pytest.mark.parametrize(
    ("only", "expected", "size"),
    [
        ("model", {"model": training()["model"]}, 8800),
        ("model.*", {"model": training()["model"]}, 8800),
        ("model.encoder.b", {"model": {"encoder.b": training()["model"]["encoder.b"]}}, 800),
        ("*.b", {"model": {"encoder.b": training()["model"]["encoder.b"]}}, 800),
        ("opt.1.0", {"opt": [None, (training()["opt"][1][0], None)]}, 4000),
        ("last.y", {"last": Point(None, training()["last"].y)}, 3200),
        ("last.y.weights", {"last": Point(None, Fitted(None, np.full(400, 6.0), None))}, 3200),
        (["epoch", "model.n"], {"model": {"n": 7}, "epoch": 3}, 0),
        ("losses", {"losses": [0.5, 0.25]}, 0),
        ("text", {"text": b"y" * 500}, 500),
        ("*", training(), 8800 + 20000 + 5600 + 500),
    ],
)
def test_only_some_paths_are_read(only: Any, expected: Any, size: int) -> None:
    taken = snapshot(training())
    reader = Reader(taken)
    found = load(taken.structure, taken.index, reader, only=only)
    assert described(found) == described(expected)
    assert (reader.calls, reader.size) == (1, size)


@pytest.mark.parametrize(
    ("only", "hint"),
    [("modle.*", "'model'"), ("model.encoder.v", "'model.encoder.w'"), (["epoch", "q"], "nothing")],
)
def test_a_glob_without_a_match_is_an_error(only: Any, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        loaded(snapshot(training()), only=only)


@needs_torch
def test_sharing_is_kept_in_parts_and_objects(torch: Any) -> None:
    module = torch.nn.Linear(100, 100)
    state = {"module": module, "state": module.state_dict(), "other": torch.ones(50_000)}
    taken = snapshot(state)
    assert len(taken.leaves) == 3
    for only in ("module", "state", "*e"):
        reader = Reader(taken)
        found = load(taken.structure, taken.index, reader, only=only)
        assert reader.size == 40_400
        for key in found:
            assert described(found[key]) == described(state[key])
    both = {"module": module, "state": state["state"]}
    assert described(found) == described(both)


class Strict:
    """Like generators of random numbers, it takes no state of zeros."""

    def __init__(self) -> None:
        self.numbers = np.arange(1, 100)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if not state["numbers"].all():
            raise ValueError("this is no state")
        self.__dict__.update(state)


@pytest.mark.parametrize("other", [Strict, lambda: Slotted(Strict(), b"b" * 100)])
def test_objects_that_are_not_wanted_may_need_their_buffers(other: Callable[[], Any]) -> None:
    taken = snapshot({"model": {"w": np.arange(100)}, "other": other()})
    found = loaded(taken, only="model.*")
    assert described(found) == described({"model": {"w": np.arange(100)}})


def test_what_is_in_no_leaf_is_always_read() -> None:
    """Attributes of a dict's subclass are no path."""
    made = WithAttribute(a=np.ones(100), b=np.ones(200))
    made.extra = np.full(300, 7.0)  # type: ignore[attr-defined]
    taken = snapshot(made)
    reader = Reader(taken)
    found = load(taken.structure, taken.index, reader, only="a")
    assert (list(found), found.extra[299]) == (["a"], 7)
    assert reader.size == 3200
    assert taken.leaves[2].name == "unnamed"


class WithAttribute(dict):  # type: ignore[type-arg]
    pass


def test_parts_that_are_not_wanted_take_no_memory() -> None:
    taken = snapshot({"a": np.ones(10), "b": np.ones(10)})
    given: list[Any] = []

    def read(numbers: list[int]) -> list[Any]:
        given.extend(UnreadBuffer(taken.leaves[each].buffer.nbytes) for each in numbers)
        return given

    assert load(taken.structure, taken.index, read, only="b")["b"].sum() == 0
    assert len(given) == 1


def test_names_and_paths_are_unique() -> None:
    a, b, c = (np.full(100, float(i)) for i in range(3))
    state = {"a": {"b": a}, "a.b": b, "x/y": {"%": c}, "__metadata__": np.ones(50), 1: {(2,): a}}
    taken = snapshot(state)
    names = [leaf.name for leaf in taken.leaves]
    assert names == ["a.b", "a.b#2", "x%2Fy.%25", "__metadata__#2"]
    assert list(taken.index) == ["a.b", "a.b#2", "x%2Fy.%25", "__metadata__", "1.(2,)"]
    assert loaded(taken, only="a.b#2")["a.b"][0] == 1
    assert loaded(taken, only="1.*")[1][(2,)][0] == 0


@needs_torch
def test_an_entry_has_the_shape_of_a_leaf_that_is_all_of_it(torch: Any) -> None:
    base = torch.arange(100.0).view(10, 10)
    part = torch.arange(50)[10:]
    state = {"row": base[1], "base": base, "part": part, "coo": torch.eye(20).to_sparse()}
    taken = snapshot(state)
    found = [(leaf.name, leaf.dtype, leaf.shape) for leaf in taken.leaves]
    assert found == [
        ("base", "F32", (10, 10)),
        ("part", "I64", (50,)),
        ("coo", "I64", (40,)),
        ("coo#2", "F32", (20,)),
    ]
    assert taken.index == {"row": [0], "base": [0], "part": [1], "coo": [2, 3]}


@needs_torch
def test_tensors_go_to_the_device_that_is_asked_for(torch: Any) -> None:
    taken = snapshot({"a": torch.ones(100), "b": torch.ones(100)})
    assert loaded(taken, map_location="meta")["a"].device.type == "meta"
    asked: list[int] = []
    loaded(taken, only="a", map_location=lambda storage, _: asked.append(storage.nbytes()))
    assert asked == [400]


def test_a_cycle_and_a_shared_container_come_back() -> None:
    inner = {"w": np.ones(100)}
    state: dict[str, Any] = {"a": inner, "b": inner}
    state["self"] = state
    found = loaded(snapshot(state))
    assert found["self"] is found
    assert found["a"] is found["b"]
    taken = snapshot({"a": inner, "b": inner})
    reader = Reader(taken)
    found = load(taken.structure, taken.index, reader, only=["b"])
    assert (list(found), found["b"]["w"].sum(), reader.size) == (["b"], 100, 800)


def test_functions_without_a_name_are_kept() -> None:
    taken = snapshot({"f": lambda x: x + 1, "a": np.ones(100)})
    assert loaded(taken)["f"](1) == 2
    assert len(taken.leaves) == 1


def deep(count: int) -> Any:
    made: list[Any] = []
    for _ in range(count):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"model": {"hook": threading.Lock()}}, r'state\["model"\]\["hook"\] cannot be pickled'),
        ([1, Fitted("a", Point(2, threading.Lock()))], r"state\[1\]\.weights\.y cannot be"),
        ({"m": [{"x": {3: [threading.Lock()]}}]}, r'state\["m"\]\[0\]\["x"\]\[3\]\[0\] cannot'),
        (threading.Lock(), "state cannot be pickled: TypeError"),
        (deep(5000), "the state cannot be pickled: it is nested too deeply"),
    ],
)
def test_a_leaf_without_a_pickle_is_named(state: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        snapshot(state)


@needs_torch
def test_storages_of_a_gpu_are_copied(torch: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    tensor = torch.arange(1_000_000.0, device="cuda")
    state = {"a": tensor, "b": tensor[10:], "c": torch.eye(50, device="cuda").to_sparse()}
    state["small"] = tensor[5:6].clone()
    taken = snapshot(state)
    assert taken.copy_bytes == 0
    tensor.zero_()
    found = loaded(taken)
    assert found["a"].device == tensor.device
    assert (found["b"][0].item(), found["small"].item()) == (10, 5)
    assert found["c"].to_dense().sum().item() == 50
    assert loaded(taken, map_location="cpu")["a"][3].item() == 3


def test_a_large_state_is_a_file_that_others_open(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    taken = snapshot({"a": np.arange(100_000.0), "b": np.zeros((3, 50), np.int8)})
    with open(tmp_path / "s.safetensors", "wb") as file:
        file.writelines(safetensors_parts(taken))
    with safetensors.safe_open(tmp_path / "s.safetensors", "np") as opened:
        assert opened.get_slice("a")[5:7].tolist() == [5, 6]
        assert opened.get_tensor("b").shape == (3, 50)
