"""Project: the location of the flow's files."""

from __future__ import annotations

import os
import sys
from typing import Any

from memoflow.fingerprint.project import root_of
from memoflow.store import Store
from memoflow.store.open import cache_folder
from memoflow.tracking import Paths

_OF_METAFLOW = (".metaflow", ".metaflow_spin")


def paths_of(flow_datastore: Any, store: Store | None) -> Paths:
    """Return the names of the project's files, without those that Metaflow and memoflow keep."""
    script = os.path.abspath(str(getattr(sys.modules["__main__"], "__file__", "") or sys.argv[0]))
    base = os.path.dirname(script)
    own = [os.path.join(folder, name) for folder in (base, os.getcwd()) for name in _OF_METAFLOW]
    own.append(str(cache_folder()))
    own.append(os.environ.get("METAFLOW_HOME") or "~/.metaflowconfig")
    if os.environ.get("METAFLOW_MEMOFLOW_CACHE_DIR"):
        own.append(os.environ["METAFLOW_MEMOFLOW_CACHE_DIR"])
    if flow_datastore.TYPE == "local":
        own.append(flow_datastore.datastore_root)
    if store is not None:
        format = store.backend.path("format.json")
        if format is not None:
            own.append(os.path.dirname(format))
    return Paths(base, root_of(script), map(os.path.expanduser, own))
