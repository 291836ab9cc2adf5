"""Functions: results of plain functions, kept and found like those of steps, without a flow."""

from memoflow.functions.mapping import map
from memoflow.functions.memoized import MemoizedFunction, memoize

__all__ = ["MemoizedFunction", "map", "memoize"]
