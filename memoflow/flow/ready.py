"""Ready: the imports of a save, made before the user's code runs.

The handler of a signal may come in the middle of an import, and what it saves must import nothing
then: it would find modules half made, or wait for the import that it has interrupted.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from memoflow.errors import MemoflowError
from memoflow.flow.artifact_store import ArtifactStore

_NEEDED = (
    "memoflow.flow.references",
    "memoflow.objects.packing",
    "memoflow.store.gc.sweeping",
)


def get_ready(where: ArtifactStore) -> None:
    """Import the modules of saves, lists and loads, and open the store if possible."""
    for name in _NEEDED:
        import_module(name)
    with suppress(MemoflowError):  # Whoever asks something of it is told.
        where.store.latest  # noqa: B018
