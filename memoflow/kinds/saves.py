"""Saves: the interface of saved checkpoints, models and snapshots, in any format.

`flow.references.StoreSaves` has those of a store, `legacy.Legacy` those of metaflow-checkpoint.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Protocol

Reference = dict[str, Any]


class Saves(Protocol):
    """The saves of one datastore in one format.

    A reference is a dict with the fields that metaflow-checkpoint gave it; lists are newest first.
    Raises IntegrityError for damage.
    """

    def reference(self, key: str) -> Reference | None:
        """Return the reference of a key, or None."""
        ...

    def load(self, reference: Reference | str, into: Path, *, writable: bool = True) -> Path:
        """Write a save into a directory, whole or not at all, and return the directory.

        Files of the same path are replaced, others stay. Unless `writable`, files may be read-only
        and links into the store. NotFoundError if any of it is gone.
        """
        ...

    def contents(self, key: str) -> dict[str, Hashable] | None:
        """Return a value for the bytes of each file, by path; None if they are not known."""
        ...

    def delete(self, key: str) -> bool:
        """Forget a save; False if it was gone already. UsageError where nothing is written."""
        ...

    def of_scope(
        self, flow: str, step: str, scope: str, identifier: str, *, task: str | None = None
    ) -> list[Reference]:
        """Return the checkpoints of a task identity: of all runs, or of one task (a pathspec)."""
        ...

    def of_task(self, task: str) -> list[Reference]:
        """Return the checkpoints of a task (Flow/run/step/task) in all attempts."""
        ...
