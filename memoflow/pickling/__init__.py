"""Pickling: values as bytes and back, with large buffers out of band."""

from memoflow.pickling.pickled import Pickled, UnpicklableError, dump, load
from memoflow.pickling.storages import MapLocation, mapped_to

__all__ = ["MapLocation", "Pickled", "UnpicklableError", "dump", "load", "mapped_to"]
