"""Format: which version wrote a store, its own id, and what its server can do."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from memoflow.backends import Backend
from memoflow.errors import BackendDeniedError, FormatError, IntegrityError

NAME = "format.json"
VERSION = 1
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Format:
    """What is written once in a store. Not `conditional`: its server overwrites all the same."""

    id: str
    conditional: bool = True


def read_format(backend: Backend) -> Format:
    """Return the format of the store in a backend, which becomes one if it is none yet.

    FormatError if a newer memoflow made it; BackendDeniedError if it cannot be read, or is no
    store and cannot become one.
    """
    data = backend.read(NAME)
    if data is None:
        fields: dict[str, Any] = {"format": VERSION, "id": uuid.uuid4().hex}
        try:
            if not backend.is_local and not _honours_conditions(backend):
                fields["conditional"] = False
            backend.write(NAME, json.dumps(fields).encode() + b"\n", if_absent=True)
        except BackendDeniedError as error:
            raise BackendDeniedError(
                f"there is no store yet, and none can be made: {error}"
            ) from error
        # Read again: of many that open a new store, one wins.
        data = backend.read(NAME)
    try:
        fields = json.loads(data or b"")
        version, found = fields["format"], Format(fields["id"], fields.get("conditional", True))
        if type(version) is not int or (version <= VERSION and not _ID.fullmatch(found.id)):
            raise ValueError("its fields are not what they should be")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(
            f"{NAME} of the store in {backend!r} is damaged ({error}); if the store's refs and "
            f"blobs are whole, remove {NAME}: a new one is written"
        ) from None
    if version > VERSION:
        raise FormatError(
            f"the store in {backend!r} has format {version}, this memoflow knows {VERSION}; "
            "upgrade memoflow, or name another store"
        )
    return found


def _honours_conditions(backend: Backend) -> bool:
    """Tell whether a write that must not replace anything does not."""
    name = f"gc/probe-{uuid.uuid4().hex}"
    backend.write(name, b"first")
    try:
        return not backend.write(name, b"second", if_absent=True)
    finally:
        backend.delete([name])
