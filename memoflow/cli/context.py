"""Command context: the store that a command is about, from the options before the verb."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from memoflow.backends import Backend
from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError
from memoflow.storages import folder_of
from memoflow.storages.named import find_backend, open_store
from memoflow.store import Store


@dataclass
class CommandContext:
    """The store of a command.

    `flow` is Metaflow's context object under `python flow.py memo`, None for other front doors.
    """

    root: str | None = None
    flow: Any = None

    @cached_property
    def store(self) -> Store:
        """The store; NotFoundError, with the remedy, if there is none."""
        try:
            return open_store(self._root)
        except NotFoundError as error:
            raise _with_hint(error) from None

    @property
    def backend(self) -> Backend:
        """The backend of the store, which need not exist."""
        try:
            return find_backend(self._root)[1]
        except NotFoundError as error:
            raise _with_hint(error) from None

    @property
    def _root(self) -> str | None:
        if self.root is not None or self.flow is None:
            return self.root
        kind, root = self.flow.flow_datastore.TYPE, self.flow.flow_datastore.datastore_root
        if kind == "local":
            root = os.path.abspath(os.path.expanduser(root))
        folder = folder_of(kind, root)
        # Roots of Azure have no scheme, and would be taken for directories.
        return folder if "://" in folder or folder.startswith("/") else f"{kind}://{folder}"


def _with_hint(error: NotFoundError) -> NotFoundError:
    return NotFoundError(
        f"{error}; or name another store with --root: a directory or s3://bucket/folder"
    )
