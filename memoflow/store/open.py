"""Open: a store from where it is kept; the one place that reads environment variables."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memoflow.backends import Backend, Local, Tiered, Unconditional
from memoflow.errors import BackendError, NotFoundError, UsageError
from memoflow.index import Index, private_directory
from memoflow.objects import blob_of, is_whole
from memoflow.store.format import NAME, read_format
from memoflow.store.gc.full_disk import keep_reserve
from memoflow.store.refs.signing import Keyring
from memoflow.store.store import Store
from memoflow.units import size

CACHE_VARIABLE = "METAFLOW_MEMOFLOW_CACHE_DIR"
CACHE_SIZE_VARIABLE = "METAFLOW_MEMOFLOW_CACHE_SIZE"
SIGNING_KEY_VARIABLE = "METAFLOW_MEMOFLOW_SIGNING_KEY"
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
    are kept beside it in `<store id>/`, up to METAFLOW_MEMOFLOW_CACHE_SIZE in all. With keys in
    METAFLOW_MEMOFLOW_SIGNING_KEY, separated by commas, or in a file as `@path`, the first signs
    what is saved, and nothing is used that none of them has signed.
    """
    # Before anything is made: whoever wants signatures is not to get a store without.
    keyring = Keyring.parse(SIGNING_KEY_VARIABLE, os.environ.get(SIGNING_KEY_VARIABLE, ""))
    if isinstance(root, (str, Path)):
        if "://" in str(root):
            raise UsageError(f"{root} is no directory; give a backend for it")
        backend: Backend = Local(Path(root))
    else:
        backend = root
    is_new = isinstance(backend, Local) and not backend.has(NAME)
    found = read_format(backend)
    if is_new:
        keep_reserve(backend)
    folder = (cache_dir or _user_cache()) / "memoflow"
    # For each set of keys one index, so that it knows only what was signed with them.
    name = f"{found.id}-{keyring.mark}" if keyring else found.id
    index = Index(folder / f"{name}.sqlite", clock=clock)
    _make_private(folder)
    if backend.takes_round_trips:
        limit = os.environ.get(CACHE_SIZE_VARIABLE) or _CACHE_SIZE
        backend = Tiered(
            Local(folder / found.id),
            backend if found.conditional else Unconditional(backend),
            is_cached=lambda name: name.startswith("blobs/"),
            is_whole=_is_whole,
            limit_bytes=size(CACHE_SIZE_VARIABLE, limit),
        )
    return Store(found.id, backend, index, keyring=keyring, clock=clock)


@contextmanager
def open_hurt(backend: Backend) -> Iterator[Store]:
    """Yield the rest of a store whose `format.json` is damaged or gone, to verify it.

    Under a new id, which a repair writes there, and with an index that lasts no longer.
    """
    keyring = Keyring.parse(SIGNING_KEY_VARIABLE, os.environ.get(SIGNING_KEY_VARIABLE, ""))
    with tempfile.TemporaryDirectory(prefix="memoflow-") as folder:
        id = uuid.uuid4().hex
        store = Store(id, backend, Index(Path(folder) / f"{id}.sqlite"), keyring=keyring)
        try:
            yield store
        finally:
            store.close()


def settings() -> dict[str, str]:
    """Return the environment variables of memoflow, for `doctor`; the keys are not to be shown."""
    return {name: os.environ[name] for name in os.environ if name.startswith("METAFLOW_MEMOFLOW_")}


def _make_private(folder: Path) -> None:
    """Make a folder and the missing ones above it their owner's alone, under any umask.

    It tells what a user computes, and holds what is believed.
    """
    missing = [folder]
    while not (parent := missing[-1].parent).exists():
        missing.append(parent)
    with suppress(OSError):
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)


def cache_folder() -> Path:
    """Return this machine's default folder for indexes and copies."""
    return _user_cache() / "memoflow"


def _is_whole(backend: Backend, name: str) -> bool:
    digest = blob_of(name)
    try:
        return digest is not None and is_whole(backend, digest)
    except (NotFoundError, BackendError):
        return False  # It is only a copy.


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
