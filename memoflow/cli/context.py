"""Asked: what the options before the verb say, for every verb."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from memoflow.backends import Backend
from memoflow.dataclass import dataclass
from memoflow.errors import NotFoundError
from memoflow.storages.named import find_backend, open_store
from memoflow.store import Store


@dataclass
class CommandContext:
    """Which store is meant.

    `flow` is the context object of Metaflow's that `python flow.py memo` was called with, None for
    other ways to call it.
    """

    root: str | None = None
    flow: Any = None

    @cached_property
    def store(self) -> Store:
        """The store; NotFoundError says what to do if there is none."""
        try:
            return open_store(self._root)
        except NotFoundError as error:
            raise _with_hint(error) from None

    @property
    def backend(self) -> Backend:
        """Where the store is, or would be if there were one."""
        try:
            return find_backend(self._root)[1]
        except NotFoundError as error:
            raise _with_hint(error) from None

    @property
    def _root(self) -> str | None:
        if self.root is not None or self.flow is None:
            return self.root
        # Here, since only this front door has imported Metaflow by now.
        from memoflow.flow import artifact_store

        datastore = self.flow.flow_datastore
        where = artifact_store.of_datastore(datastore.TYPE, datastore.datastore_root)
        # Roots of Azure have no scheme, and would be taken for directories.
        has_scheme = "://" in where.folder or where.folder.startswith("/")
        return where.folder if has_scheme else f"{where.type}://{where.folder}"


def _with_hint(error: NotFoundError) -> NotFoundError:
    return NotFoundError(f"{error}; --root names one: a directory or s3://bucket/folder")
