"""Opening: the backend of a datastore of Metaflow's, by its type and root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from memoflow.backends import Backend, Local
from memoflow.errors import RequestError

# The module that opens roots of a type. Imported when one is opened: what they need takes a while
# to import, and is there only where it is used.
_MODULES = {"s3": "amazon"}


def backend_of(type: str, root: str, config: Mapping[str, Any] | None = None) -> Backend:
    """Return the backend at a root: a directory, or a folder of a bucket.

    `config` is what `@with_artifact_store` was told beside the root. RequestError for a type that
    there is no backend for.
    """
    module = check(type, root)
    if module is None:
        return Local(Path(os.path.expanduser(root)))
    backend: Backend = import_module(f"memoflow.storages.{module}").backend(root, config or {})
    return backend


def check(type: str, root: str) -> str | None:
    """Return the module that opens a root, None for a directory; RequestError if none can."""
    scheme = root.partition("://")[0] if "://" in root else None
    if scheme is None and (type == "local" or root.startswith("/")):
        return None
    kind = scheme or type
    if kind not in _MODULES:
        raise RequestError(
            f"there can be no store in {root}: memoflow knows directories and "
            f"{', '.join(sorted(_MODULES))}, not {kind}; set METAFLOW_MEMOFLOW_ROOT to one of these"
        )
    return _MODULES[kind]
