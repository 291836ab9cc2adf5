"""The option `load=` of `@model`."""

from __future__ import annotations

import os
from typing import Any

from memoflow.errors import UsageError


def parse(wanted: Any) -> list[tuple[str, str | None]]:
    """Return the names and paths of a `load=`; UsageError for any other shape."""
    if wanted is None:
        return []
    each = [wanted] if isinstance(wanted, str) else wanted
    found: list[tuple[str, str | None]] = []
    for one in each if isinstance(each, (list, tuple)) else [None]:
        if isinstance(one, str) and one:
            found.append((one, None))
        elif (
            isinstance(one, (list, tuple))
            and len(one) == 2
            and isinstance(one[0], str)
            and (one[1] is None or isinstance(one[1], (str, os.PathLike)))
        ):
            found.append((one[0], None if one[1] is None else os.fspath(one[1])))
        else:
            raise UsageError(
                f"@model(load={wanted!r}): it takes a name, a list of names, or a list of "
                "(name, path)"
            )
    return found
