"""Format: which version wrote a store, and the store's own id."""

from __future__ import annotations

import json
import re
import uuid

from memoflow.backends import Backend
from memoflow.errors import BackendDeniedError, FormatError, IntegrityError

NAME = "format.json"
VERSION = 1
_ID = re.compile(r"[0-9a-f]{32}")


def store_id(backend: Backend) -> str:
    """Return the id of the store in a backend, which becomes one if it is none yet.

    FormatError if a newer memoflow made it; BackendDeniedError if it cannot be read, or is no
    store and cannot become one.
    """
    data = backend.read(NAME)
    if data is None:
        body = json.dumps({"format": VERSION, "id": uuid.uuid4().hex}).encode() + b"\n"
        try:
            backend.write(NAME, body, if_absent=True)
        except BackendDeniedError as error:
            raise BackendDeniedError(
                f"there is no store yet, and none can be made: {error}"
            ) from error
        # Read again: of many that open a new store, one wins.
        data = backend.read(NAME)
    try:
        fields = json.loads(data or b"")
        version, found = fields["format"], fields["id"]
        if type(version) is not int or (version <= VERSION and not _ID.fullmatch(found)):
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
    return str(found)
