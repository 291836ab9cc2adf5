"""Open: a store from where it is kept; the one place that reads environment variables."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from memoflow.backends import Backend, Local, Tiered, Unconditional
from memoflow.errors import NotFoundError, RequestError
from memoflow.index import Index, private_directory
from memoflow.objects import blob_of, is_whole
from memoflow.store.format import Format, read_format
from memoflow.store.store import Store
from memoflow.units import size

CACHE_VARIABLE = "METAFLOW_MEMOFLOW_CACHE_DIR"
CACHE_SIZE_VARIABLE = "METAFLOW_MEMOFLOW_CACHE_SIZE"
_CACHE_SIZE = "20GB"


def open_store(
    root: str | Path | Backend,
    *,
    cache_dir: Path | None = None,
    clock: Callable[[], float] = time.time,
) -> Store:
    """Return the store in a directory or backend, which becomes one if it is none yet.

    Its index is `memoflow/<store id>.sqlite` in `cache_dir`, or in what
    METAFLOW_MEMOFLOW_CACHE_DIR names, or in the user's cache directory. Blobs of a store elsewhere
    are kept beside it in `<store id>/`, up to METAFLOW_MEMOFLOW_CACHE_SIZE in all.
    """
    if isinstance(root, (str, Path)):
        if "://" in str(root):
            raise RequestError(f"{root} is no directory; give a backend for it")
        backend: Backend = Local(Path(root))
    else:
        backend = root
    found = read_format(backend)
    folder = (cache_dir or _user_cache()) / "memoflow"
    index = Index(folder / f"{found.id}.sqlite", clock=clock)
    if not backend.is_local:
        backend = _cached(backend, found, folder / found.id)
    return Store(found.id, backend, index, clock=clock)


def _cached(backend: Backend, format: Format, folder: Path) -> Tiered:
    text = os.environ.get(CACHE_SIZE_VARIABLE) or _CACHE_SIZE
    return Tiered(
        Local(folder),
        backend if format.conditional else Unconditional(backend),
        is_cached=lambda name: name.startswith("blobs/"),
        is_whole=_is_whole,
        limit_bytes=size(CACHE_SIZE_VARIABLE, text),
    )


def _is_whole(backend: Backend, name: str) -> bool:
    digest = blob_of(name)
    try:
        return digest is not None and is_whole(backend, digest)
    except NotFoundError:
        return False


def _user_cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    # Without HOME and an entry in the list of users "~" stays what it is, or is an error.
    try:
        # Here, because its import is slow and most containers name the directory.
        from platformdirs import user_cache_path

        path = user_cache_path()
    except ImportError:  # A task in a plain image, where this alone is no reason to install it.
        path = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    except RuntimeError:
        path = Path()
    if path.is_absolute():
        return path
    return private_directory() or Path(tempfile.gettempdir())
