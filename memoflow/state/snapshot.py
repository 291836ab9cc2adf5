"""Snapshots: a state as a pickle of its structure, and the memory of its leaves."""

from __future__ import annotations

import functools
import io
import pickle
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import UsageError
from memoflow.garbage import without_collecting
from memoflow.pickling.pickled import PROTOCOL, large_view
from memoflow.pickling.storages import storage_pickler
from memoflow.state import dtypes
from memoflow.state.device_copies import DeviceCopies
from memoflow.state.walk import ATOMS, FoundLeaf, leaves

LEAST_BYTES = 64  # of a buffer out of band
_ALIGNED_BYTES = 64
_LARGE_BYTES = 1 << 20
_COPIED_BYTES = 16 << 20  # Other threads get a turn between two of these.
_STORAGE = "storage"
_Key = tuple[str, int]  # the kind of a buffer's owner, and its identity


@dataclass(frozen=True)
class Leaf:
    """A buffer of a state, named by the path of a leaf that uses it.

    It has the dtype and shape of a leaf that is all of it, else it is one-dimensional. `is_private`
    says that nobody writes to it any more: it was copied, or cannot be written to.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    buffer: memoryview
    is_private: bool = False


@dataclass(frozen=True)
class StateSnapshot:
    """A state, apart: until it is `copied`, a change of the state changes the buffers, too.

    `index` has the numbers of the buffers that the leaves at a path use, tensors or other objects;
    those that are in no path's list are needed whatever is loaded.
    """

    structure: bytes
    leaves: tuple[Leaf, ...]
    index: Mapping[str, list[int]]

    @property
    def copy_bytes(self) -> int:
        """The memory that `copied` needs."""
        return sum(_aligned(each.buffer.nbytes) for each in self.leaves if not each.is_private)

    def copied(self, memory: Any) -> StateSnapshot:
        """Return the same with its buffers in a writable buffer, each at a multiple of 64 bytes.

        UsageError if it is smaller than `copy_bytes`.
        """
        room = memoryview(memory).cast("B")
        if room.nbytes < self.copy_bytes:
            raise UsageError(
                f"the copy of a state needs {self.copy_bytes} bytes, and was given {room.nbytes}"
            )
        made: list[Leaf] = []
        at = 0
        for leaf in self.leaves:
            if leaf.is_private:
                made.append(leaf)
                continue
            to = room[at : at + leaf.buffer.nbytes]
            _copy(leaf.buffer, to)
            made.append(Leaf(leaf.name, leaf.dtype, leaf.shape, to, is_private=True))
            at += _aligned(to.nbytes)
        return StateSnapshot(self.structure, tuple(made), self.index)


def _copy(source: memoryview, to: memoryview) -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None and to.nbytes >= _LARGE_BYTES and not source.readonly:
        # By several threads, and without Python's lock.
        torch.frombuffer(to, dtype=torch.uint8).copy_(torch.frombuffer(source, dtype=torch.uint8))
        return
    for begin in range(0, to.nbytes, _COPIED_BYTES):
        to[begin : begin + _COPIED_BYTES] = source[begin : begin + _COPIED_BYTES]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED_BYTES) * _ALIGNED_BYTES


def snapshot(state: Any) -> StateSnapshot:
    """Take a state apart; UsageError, with the path, for a leaf that cannot be pickled.

    The buffers are the memory of the state itself, but for storages of other devices, which are
    copied meanwhile.
    """
    with without_collecting():
        found: list[FoundLeaf] = []
        try:
            found += leaves(state)
            with_bytes = any(_is_bytes(each.value) for each in found)
            whole = _pickled(state, with_bytes=with_bytes, is_trial=False)
        except MemoryError:
            raise
        except Exception as error:  # Of `__reduce__` and its kin, which may raise what they like.
            raise _refusal(found, error) from error
        uses = [(each, _numbers(each.value, whole)) for each in found]
        named = tuple(_named(whole, uses))
        whole.copies.wait()
    head = pickle.dumps((tuple(map(len, whole.buffers)), tuple(whole.of_bytes)), PROTOCOL)
    return StateSnapshot(
        head + whole.stream, named, {each.path: numbers for each, numbers in uses if numbers}
    )


class _Pickled:
    """A value as a stream, its buffers, and their numbers by the objects that own them."""

    def __init__(self, *, is_trial: bool) -> None:
        self.is_trial = is_trial  # Only the numbers matter.
        self.stream = b""
        self.buffers: list[memoryview] = []
        self.numbers: dict[_Key, int] = {}
        self.of_bytes: list[int] = []
        self.private: set[int] = set()
        self.copies = DeviceCopies()
        self.pickler: Any = None  # Keeps the owners of buffers alive, and so their identities.
        self._owner: _Key | None = None
        self._is_copied = False

    def expect(self, owner: _Key, *, is_copied: bool = False) -> None:
        """Take the next buffer for that of an object."""
        self._owner, self._is_copied = owner, is_copied

    def is_small(self, buffer: pickle.PickleBuffer) -> bool:
        owner, is_copied = self._owner, self._is_copied
        self._owner, self._is_copied = None, False
        view = large_view(buffer, LEAST_BYTES)
        if view is not None:
            self._add(view, owner, is_private=is_copied)
        return view is None

    def number_of_bytes(self, value: bytes | bytearray) -> int:
        owner = "bytes", id(value)
        if owner not in self.numbers:
            self.of_bytes.append(len(self.buffers))
            self._add(memoryview(value), owner, is_private=isinstance(value, bytes))
        return self.numbers[owner]

    def _add(self, buffer: memoryview, owner: _Key | None, *, is_private: bool) -> None:
        if owner is not None:
            self.numbers[owner] = len(self.buffers)
        if is_private:
            self.private.add(len(self.buffers))
        self.buffers.append(buffer)


def _is_bytes(value: Any) -> bool:
    return type(value) in (bytes, bytearray) and len(value) >= LEAST_BYTES


def _pickled(value: Any, *, with_bytes: bool = True, is_trial: bool = True) -> _Pickled:
    try:
        return _pickled_by(pickle.Pickler, value, with_bytes, is_trial)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # Of what has no name to be imported by.
        import cloudpickle  # Here, as few states need it and it takes a while to import.

        return _pickled_by(cloudpickle.Pickler, value, with_bytes, is_trial)


def _pickled_by(base: Any, value: Any, with_bytes: bool, is_trial: bool) -> _Pickled:
    file, found = io.BytesIO(), _Pickled(is_trial=is_trial)
    if "torch" in sys.modules:
        base = storage_pickler(base)
    pickler = found.pickler = _pickler(base, with_bytes)(file, found)
    pickler.dump(value)
    found.stream = file.getvalue()
    return found


@functools.cache
def _pickler(base: Any, with_bytes: bool) -> Any:
    """Return a subclass of a pickler that announces the owner of each buffer."""
    other = getattr(base, "reducer_override", lambda self, value: NotImplemented)

    class StatePickler(base):  # type: ignore[misc]
        def __init__(self, file: Any, found: _Pickled) -> None:
            super().__init__(file, PROTOCOL, buffer_callback=found.is_small)
            self._found = found

        def reducer_override(self, value: Any) -> Any:
            if _is_array(value):
                reduced = value.__reduce_ex__(PROTOCOL)
                if isinstance(reduced[1][0], pickle.PickleBuffer):
                    self._found.expect(("array", id(value)))
                return reduced
            return other(self, value)

        def on_cpu(self, storage: Any) -> Any:
            is_elsewhere = storage.device.type != "cpu"
            self._found.expect(_storage_key(storage), is_copied=is_elsewhere)
            if not is_elsewhere or storage.nbytes() < LEAST_BYTES:
                return storage.cpu()  # What goes into the stream is read before `wait`.
            if self._found.is_trial:
                return type(storage)(storage.nbytes())
            return self._found.copies.copy(storage)

    class StateBytesPickler(StatePickler):
        # Asked of each object, so only where there are such leaves.
        def persistent_id(self, value: Any) -> Any:
            if not _is_bytes(value):
                return None
            return type(value) is bytes, self._found.number_of_bytes(value)

    return StateBytesPickler if with_bytes else StatePickler


def _storage_key(storage: Any) -> _Key:
    return _STORAGE, storage._cdata


def _is_array(value: Any) -> bool:
    """Return whether a value is an array of numbers, or of another dtype without objects."""
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not value.dtype.hasobject


def _is_plain_tensor(value: Any) -> bool:
    """Return whether a value is a tensor that is all told by one storage."""
    torch: Any = sys.modules.get("torch")
    return (
        torch is not None
        and type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type != "meta"
        and not (value.is_quantized or value.is_nested or value.__dict__)
    )


def _numbers(value: Any, whole: _Pickled) -> list[int]:
    """Return the numbers of the buffers that a leaf uses."""
    owners: list[_Key] = []
    if _is_array(value):
        owners = [("array", id(value))]
    elif _is_plain_tensor(value):
        owners = [_storage_key(value.untyped_storage())]
    elif _is_bytes(value):
        owners = [("bytes", id(value))]
    elif type(value) not in ATOMS:
        owners = list(_pickled(value).numbers)
    return [whole.numbers[each] for each in owners if each in whole.numbers]


def _named(whole: _Pickled, uses: list[tuple[FoundLeaf, list[int]]]) -> Iterator[Leaf]:
    """Yield the buffers with their names, each that of a leaf that is all of it if there is one."""
    users: dict[int, FoundLeaf] = {}
    shapes: dict[int, tuple[str, tuple[int, ...]]] = {}
    for leaf, numbers in uses:
        for number in numbers:
            users.setdefault(number, leaf)
        if len(numbers) == 1 and numbers[0] not in shapes:
            shape = _shape(leaf.value, whole.buffers[numbers[0]].nbytes)
            if shape is not None:
                users[numbers[0]], shapes[numbers[0]] = leaf, shape
    seen = getattr(whole.pickler, "dtypes", {})
    known = {
        number: seen.get(id) for (kind, id), number in whole.numbers.items() if kind == _STORAGE
    }
    taken = {"__metadata__"}  # A word of the format.
    for number, buffer in enumerate(whole.buffers):
        user = users.get(number)
        path = name = user.path if user is not None else "unnamed"
        count = 1
        while name in taken:
            count += 1
            name = f"{path}#{count}"
        taken.add(name)
        if number in shapes:
            dtype, dimensions = shapes[number]
        else:
            dtype = dtypes.name_of(known.get(number) or _dtype(user))
            if buffer.nbytes % dtypes.SIZES[dtype]:
                dtype = dtypes.BYTES
            dimensions = (buffer.nbytes // dtypes.SIZES[dtype],)
        yield Leaf(name, dtype, dimensions, buffer, is_private=number in whole.private)


def _dtype(user: FoundLeaf | None) -> Any:
    is_known = user is not None and (_is_array(user.value) or _is_plain_tensor(user.value))
    return user.value.dtype if user is not None and is_known else None


def _shape(value: Any, size: int) -> tuple[str, tuple[int, ...]] | None:
    """Return the dtype and shape of a leaf that is all of its buffer; None for others."""
    if _is_array(value):
        is_all = value.flags.c_contiguous
    elif _is_plain_tensor(value):
        is_all = value.is_contiguous() and not (value.is_conj() or value.is_neg())
        is_all = is_all and value.numel() * value.element_size() == size
    else:
        return None
    dtype = dtypes.name_of(value.dtype)
    itemsize = value.itemsize if _is_array(value) else value.element_size()
    if not is_all or dtypes.SIZES[dtype] != itemsize:
        return None
    return dtype, tuple(value.shape)


def _refusal(found: list[FoundLeaf], error: Exception) -> UsageError:
    """Return an error that names the first leaf without a pickle."""
    for leaf in found:
        if type(leaf.value) not in ATOMS:
            try:
                _pickled(leaf.value)
            except Exception as reason:
                return UsageError(f"{leaf.expression} cannot be pickled: {_told(reason)}")
    return UsageError(f"the state cannot be pickled: {_told(error)}")


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"{type(error).__name__}: {error}"
