"""Values: results of memoized functions that are more than one pickle.

Pickles name `Items`, which keeps its name and place.
"""

from __future__ import annotations

from memoflow.dataclass import dataclass


@dataclass(frozen=True)
class Items:
    """The items of a generator, each by itself, and its return value."""

    items: tuple[bytes, ...]
    returned: bytes
