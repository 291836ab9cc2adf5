"""Place: the store of memoized functions, as one process uses it, and the files of the project."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
import time
import weakref
from functools import cached_property
from typing import Any

from memoflow.errors import BackendError, MemoflowError
from memoflow.functions.tallies import Tallies
from memoflow.kinds.candidates import Candidates
from memoflow.log import log
from memoflow.masking import Mask, without_passwords
from memoflow.names import Key
from memoflow.storages.opening import open_store
from memoflow.storages.project_files import paths_of
from memoflow.store import Store
from memoflow.tracking import FileDigests, Paths, World


class Place:
    """One store, with the state of this process."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mask = Mask(frozenset(), store.id.encode)
        self.tallies = Tallies(store.index)
        weakref.finalize(self, self.tallies.flush)  # At exit, too.
        self._candidates: dict[Key, Candidates] = {}
        self._counts = itertools.count(1)
        self._began = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    @cached_property
    def digests(self) -> FileDigests:
        index = self.store.index
        return FileDigests(index.get, index.set, lambda line: log.warning("[memoize] %s", line))

    @cached_property
    def paths(self) -> Paths:
        base, main = _script()
        return paths_of(main, base, self.store)

    @property
    def world(self) -> World:
        return World(self.paths, self.digests, self.store.id.encode(), os.environ)

    def candidates(self, code_key: Key) -> Candidates:
        found = self._candidates.get(code_key)
        if found is None:
            found = self._candidates[code_key] = Candidates(self.store, code_key, mask=self.mask)
        return found

    def origin(self, module: str, name: str) -> str:
        """Return the name of a run: module, process, function and number."""
        process = f"{self._began}-{socket.gethostname().partition('.')[0]}-{os.getpid()}"
        return f"{module}/{process}/{name}/{next(self._counts)}"


class Places:
    """The places of this process, each opened at most once; a forked process opens its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[object, Place | None] = {}
        self._said: set[object] = set()

    def of(self, store: Store | str | os.PathLike[str] | None) -> Place | None:
        """Return the place of a store; None, with one warning, for a store out of reach."""
        named = _named(store)
        with self._lock:
            if named not in self._known:
                self._known[named] = self._open(store)
            return self._known[named]

    def _open(self, store: Any) -> Place | None:
        try:
            if not isinstance(store, Store):
                store = open_store(None if store is None else os.fspath(store), create=True)
            return Place(store)
        except (MemoflowError, OSError) as error:
            self.say_once(f"off: {error}")
        except Exception as error:  # Of Metaflow's configuration, which may raise what it likes.
            self.say_once(f"off: {type(error).__name__}: {error}")
        return None

    def flush(self) -> None:
        """Write the counted hits and misses of this process to the indexes."""
        for place in list(self._known.values()):
            if place is not None:
                place.tallies.flush()

    def cut_off(self, store: Any, error: Exception) -> None:
        """Go on without a silent store: each further question would wait as long."""
        named = _named(store)
        self._known[named] = None
        self.say_once(f"off: {error}")

    def say_failing(self, store: Any, error: BackendError) -> None:
        """Warn of the failure of a store, once for all of its files."""
        about = _named(store), type(error), getattr(error.__cause__, "errno", None)
        self.say_once(f"results cannot be stored or found: {error}", about=about)

    def say_once(self, line: str, *, about: object = None) -> None:
        if (about or line) not in self._said:
            self._said.add(about or line)
            log.warning("[memoize] %s", without_passwords(line))


PLACES = Places()
os.register_at_fork(after_in_child=PLACES.__init__)  # type: ignore[misc]


def _named(store: Store | str | os.PathLike[str] | None) -> object:
    return id(store) if isinstance(store, Store) else store if store is None else str(store)


def _script() -> tuple[str, str]:
    """Return the base folder for names of files, and the script or folder."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    path = os.path.abspath(main) if isinstance(main, str) else os.getcwd()
    return (os.path.dirname(path) if isinstance(main, str) else path), path
