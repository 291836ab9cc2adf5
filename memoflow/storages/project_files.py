"""Project files: the names of files around a script, but for those of Metaflow and memoflow."""

from __future__ import annotations

import os
from collections.abc import Iterable

from memoflow.fingerprint.project import root_of
from memoflow.store import Store
from memoflow.store.open import CACHE_VARIABLE, cache_folder
from memoflow.tracking import Paths

_OF_METAFLOW = (".metaflow", ".metaflow_spin")


def paths_of(script: str, base: str, store: Store | None, datastores: Iterable[str] = ()) -> Paths:
    """Return the names of files, relative to `base`; `datastores` are directories of Metaflow's."""
    own = [os.path.join(folder, name) for folder in (base, os.getcwd()) for name in _OF_METAFLOW]
    own += [str(cache_folder()), os.environ.get("METAFLOW_HOME") or "~/.metaflowconfig"]
    own += [os.environ.get(CACHE_VARIABLE) or "", *datastores]
    format = None if store is None else store.backend.path("format.json")
    own.append("" if format is None else os.path.dirname(format))
    return Paths(base, root_of(script), map(os.path.expanduser, filter(None, own)))
