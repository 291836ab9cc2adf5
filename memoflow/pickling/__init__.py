"""Pickling: values as bytes and back, with large buffers out of band."""

from memoflow.pickling.pickled import Pickled, UnpicklableError, dump, load
from memoflow.pickling.storages import MapLocation, UnreadBuffer, mapped_to

__all__ = [
    "MapLocation",
    "Pickled",
    "UnpicklableError",
    "UnreadBuffer",
    "dump",
    "load",
    "mapped_to",
]
