"""Open: a store from where it is kept; the one place that reads environment variables."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from memoflow.backends import Backend, Local
from memoflow.errors import RequestError
from memoflow.index import Index, private_directory
from memoflow.store.format import store_id
from memoflow.store.store import Store

CACHE_VARIABLE = "METAFLOW_MEMOFLOW_CACHE_DIR"


def open_store(
    root: str | Path | Backend,
    *,
    cache_dir: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Store:
    """Return the store in a directory or backend, which becomes one if it is none yet.

    Its index is `memoflow/<store id>.sqlite` in `cache_dir`, or in what
    METAFLOW_MEMOFLOW_CACHE_DIR names, or in the user's cache directory.
    """
    if isinstance(root, (str, Path)):
        if "://" in str(root):
            raise RequestError(f"{root} is no directory; this memoflow keeps stores on disks only")
        backend: Backend = Local(Path(root))
    else:
        backend = root
    found = store_id(backend)
    index = Index((cache_dir or _user_cache()) / "memoflow" / f"{found}.sqlite", clock=clock)
    return Store(found, backend, index, clock=clock)


def _user_cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    # Here, because its import is slow and most containers name the directory.
    from platformdirs import user_cache_path

    # Without HOME and an entry in the list of users "~" stays what it is, or is an error.
    try:
        path = user_cache_path()
    except RuntimeError:
        path = Path()
    if path.is_absolute():
        return path
    return private_directory() or Path(tempfile.gettempdir())
