"""Named: the store that a person names, or that Metaflow is configured to use."""

from __future__ import annotations

import os
from pathlib import Path

from memoflow.backends import Backend, Local, first_read
from memoflow.errors import NotFoundError
from memoflow.store import Store
from memoflow.store import open_store as open_backend
from memoflow.store.open import settings

_ROOT_VARIABLE = "METAFLOW_MEMOFLOW_ROOT"


def open_store(root: str | Path | None = None) -> Store:
    """Return the store in a directory or at an address such as `s3://bucket/folder`.

    By default that of the datastore that Metaflow is configured to use. NotFoundError if there is
    none: looking does not make one.

        import memoflow
        store = memoflow.open_store()
        for key in store.keys():
            print(store.find(key))
    """
    where, backend = find_backend(root)
    # Read, since a look whether it is there takes a bucket that does not exist for an empty one.
    if first_read(backend, "format.json", most_bytes=1) is None:
        raise NotFoundError(
            f"there is no memoflow store in {where}; run a flow that has a step with @memoize, "
            "@checkpoint, @model or @huggingface_hub first"
        )
    return open_backend(backend)


def find_backend(root: str | Path | None) -> tuple[str, Backend]:
    """Return the location of a store and its backend; the store need not exist yet."""
    named = str(root or settings().get(_ROOT_VARIABLE) or "")
    if named and "://" not in named:
        path = Path(os.path.abspath(os.path.expanduser(named)))
        return str(path), Local(path)
    # Here, since it imports Metaflow, which takes longer than all that a command does.
    from memoflow.storages.opening import backend_of, configured, folder_of

    if named:
        return named, backend_of("local", named)
    kind, datastore = configured()
    folder = folder_of(kind, datastore)
    return folder, backend_of(kind, folder)
