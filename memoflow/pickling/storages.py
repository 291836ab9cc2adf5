"""Storages: the memory of torch's tensors as buffers of pickle, without a copy.

Tensors keep the pickles of torch, which name their storages; only those are pickled otherwise. The
functions in `__all__` are named by pickles, and keep name, place and parameters.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from memoflow.log import log

__all__ = ["tensor_rebuilder", "typed_storage", "untyped_storage"]

# As of `torch.load`: None, a device, devices by device, or a function of a storage and its device.
MapLocation = Any

_CPU = "cpu"
# Python names the last one since 3.13, for Linux.
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
_UNREAD = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
_map_location: ContextVar[MapLocation] = ContextVar("map_location", default=None)


@contextlib.contextmanager
def mapped_to(map_location: MapLocation) -> Iterator[None]:
    """Have storages loaded in the block go to other devices, as by `torch.load`.

    None is the device that a storage was on, or the CPU, with a warning, where that is not there.
    """
    token = _map_location.set(map_location)
    try:
        yield
    finally:
        _map_location.reset(token)


@functools.cache
def storage_pickler(base: Any) -> Any:
    """Return a subclass of a pickler for values with storages; torch has to be loaded."""
    torch: Any = sys.modules["torch"]
    storages = (torch.UntypedStorage, torch.storage.TypedStorage)
    other = getattr(base, "reducer_override", lambda self, value: NotImplemented)
    of_new_dtypes = getattr(torch._utils, "_rebuild_tensor_v3", None)

    class StoragePickler(base):  # type: ignore[misc]
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            # Tensors that share a storage have a wrapper of it each: pickle is to see one.
            self._untyped: dict[int, Any] = {}
            self.dtypes: dict[int, Any] = {}  # those that a storage was seen with, by `_cdata`

        def reducer_override(self, value: Any) -> Any:
            if value is of_new_dtypes:
                return tensor_rebuilder, ()
            if type(value) is OrderedDict and not value and not value.__dict__:
                return OrderedDict, ()  # Each tensor has one for its hooks.
            if not isinstance(value, storages):
                return other(self, value)
            inner = getattr(value, "_untyped_storage", value)
            if inner.device.type == "meta":
                return NotImplemented
            one = self._untyped.setdefault(inner._cdata, inner)
            if one is value:
                is_here = value.device.type == _CPU
                device = _CPU if is_here else torch.serialization.location_tag(value)
                buffer = pickle.PickleBuffer(bytes_of(self.on_cpu(value)))
                return untyped_storage, (buffer, device)
            dtype = getattr(value, "dtype", None)
            self.dtypes.setdefault(inner._cdata, dtype)
            return typed_storage, (one, dtype)

        def on_cpu(self, storage: Any) -> Any:
            """Return a storage, or a copy of one of another device: its buffer is the next one."""
            return storage.cpu()

    return StoragePickler


def bytes_of(storage: Any) -> memoryview:
    """Return the memory of an untyped storage on the CPU, which the view keeps alive."""
    import ctypes  # Here, since torch has loaded it, and little else needs it.

    size = storage.nbytes()
    if not size:
        return memoryview(bytearray())
    memory = (ctypes.c_ubyte * size).from_address(storage.data_ptr())
    memory.storage = storage
    return memoryview(memory).cast("B")


class UnreadBuffer(mmap.mmap):
    """Untouched memory in place of a buffer that is not wanted: it stays on the CPU."""

    def __new__(cls, size_bytes: int) -> UnreadBuffer:
        return super().__new__(cls, -1, size_bytes, flags=_UNREAD)


def untyped_storage(buffer: Any, device: str) -> Any:
    """Return a storage in the memory of a writable buffer, on the device in force.

    Bytes of the pickle itself are copied, so that small tensors can be resized in place as any.
    """
    import torch  # Here, since nothing without a storage needs it.

    if not memoryview(buffer).nbytes:
        made = torch.UntypedStorage(0)
    elif isinstance(buffer, (bytes, bytearray)) or memoryview(buffer).readonly:
        made = torch.UntypedStorage(memoryview(buffer).nbytes)
        bytes_of(made)[:] = memoryview(buffer).cast("B")
    else:
        made = torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()
    if isinstance(buffer, UnreadBuffer):
        return made
    return _moved(made, device, torch.serialization.default_restore_location)


def _moved(storage: Any, device: str, restore: Callable[[Any, str], Any]) -> Any:
    wanted = _map_location.get()
    if wanted is None:
        if device == _CPU:
            return storage
        try:
            return restore(storage, device)
        except RuntimeError:
            log.warning(
                "there is no device %s here: tensors that were on it are loaded to the CPU", device
            )
            return storage
    if callable(wanted):
        found = wanted(storage, device)
        return restore(storage, device) if found is None else found
    if isinstance(wanted, Mapping):
        return restore(storage, wanted.get(device, device))
    return restore(storage, str(wanted))


def typed_storage(storage: Any, dtype: Any) -> Any:
    """Return a storage as one of a dtype; None is one without."""
    import torch  # Here, since nothing without a storage needs it.

    if dtype is None:
        return storage
    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def tensor_rebuilder() -> Callable[..., Any]:
    """Return the function for tensors of dtypes without a typed storage, such as float8.

    That of torch takes the storages of `torch.load` alone, which are typed ones of bytes.
    """
    import torch  # Here, since nothing without a storage needs it.

    def rebuilt(storage: Any, *parts: Any) -> Any:
        of_bytes = typed_storage(storage, torch.uint8)
        return torch._utils._rebuild_tensor_v3(of_bytes, *parts)

    return rebuilt
