"""Format: the version of a store, its own id, and the abilities of its server."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from memoflow.backends import Backend, first_read, honours_conditions
from memoflow.dataclass import dataclass
from memoflow.errors import BackendDeniedError, FormatError, IntegrityError
from memoflow.fields import Fields
from memoflow.names import Digest
from memoflow.objects import parsed

NAME = "format.json"
PROBE = "gc/conditions"
VERSION = 1
_LARGEST_BYTES = 64 << 10
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Format:
    """A store's identity, written once. Not `conditional`: its server overwrites all the same."""

    id: str
    conditional: bool = True


def read_format(backend: Backend, *, make: bool = True) -> Format:
    """Return the format of the store in a backend, which becomes one if it is none yet.

    FormatError if a newer memoflow made it; BackendDeniedError if it cannot be read, or is no
    store and cannot become one, or is not to become one: without `make`.
    """
    data = first_read(backend, NAME, most_bytes=_LARGEST_BYTES)
    if data is None and not make:
        raise BackendDeniedError(f"there is no store in {backend}: it has no {NAME}")
    if data is None:
        try:
            made = Format(uuid.uuid4().hex, honours_conditions(backend, PROBE))
            backend.write(NAME, encoded(made), if_absent=True)
        except BackendDeniedError as error:
            raise BackendDeniedError(
                f"there is no store yet, and none can be made: {error}"
            ) from error
        # Read again: of many that open a new store, one wins.
        data = backend.read(NAME, most_bytes=_LARGEST_BYTES)
    try:
        fields = parsed(data or b"")
        version = fields["format"]
        if type(version) is not int:
            raise ValueError("its format is no number")
        # What a newer one has in its fields is for it to say.
        found = _found(fields) if version <= VERSION else None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise IntegrityError(
            f"{NAME} of the store in {backend} is damaged ({error}); if the store's refs and "
            f"blobs are whole, remove {NAME}: a new one is written"
        ) from None
    if found is None:
        raise FormatError(
            f"the store in {backend} has format {version}, this memoflow knows {VERSION}; "
            "upgrade memoflow, or name another store"
        )
    return found


def _found(fields: dict[str, Any]) -> Format:
    typed = Fields(fields)
    found = Format(typed.text("id"), typed.flag("conditional", True))
    rest = {name: value for name, value in fields.items() if name != "seal"}
    is_known = rest.keys() <= {"format", "id", "conditional"} and _ID.fullmatch(found.id)
    # The first stores had no seal.
    if not is_known or fields.get("seal", _seal(rest)) != _seal(rest):
        raise ValueError("its fields are malformed")
    return found


def encoded(format: Format) -> bytes:
    """Return the bytes of a format, for `read_format`."""
    fields: dict[str, Any] = {"format": VERSION, "id": format.id}
    if not format.conditional:
        fields["conditional"] = False
    return json.dumps(fields | {"seal": _seal(fields)}).encode() + b"\n"


def _seal(fields: dict[str, Any]) -> str:
    return Digest.of(json.dumps(fields, sort_keys=True).encode())
