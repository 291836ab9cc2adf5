"""Arguments of saves: metadata as plain JSON data, and `ignore_patterns=`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, time
from typing import Any

from memoflow.errors import UsageError, WrongTypeError
from memoflow.log import log
from memoflow.masking import Mask

_said: set[str] = set()  # names of what was masked, each said once a process


class _Noted(Mask):
    """The mask of metadata, where masking loses the value: a plain `key` is not masked."""

    def hides(self, name: str, value: Any = "") -> bool:
        return name.lower() not in ("key", "keys", "tokens") and super().hides(name, value)


_MASK = _Noted()


def plain(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata as JSON returns it, with numbers of numpy and torch as plain numbers.

    What JSON has no form for becomes text, keys that are numbers as well, and what looks like a
    password is masked: whoever may read the store can read the metadata. UsageError if it is no
    mapping, or has keys that are neither text nor numbers.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise WrongTypeError(f"metadata is a dict, not {type(metadata).__name__}: {metadata!r:.80}")
    try:
        # Not sorted, and with NaN: what was noted comes back as it was.
        found: dict[str, Any] = json.loads(json.dumps(dict(metadata), default=_plain))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"metadata cannot be written as JSON: {error}") from None
    masked: dict[str, Any] = _MASK.plain(found)
    for name in found:
        if masked[name] != found[name] and name not in _said:
            _said.add(name)
            log.warning("metadata %s is kept masked, since it looks like a password", name)
    return masked


def _plain(value: Any) -> Any:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, Mapping):
        return dict(value)
    if callable(getattr(value, "tolist", None)):  # of numpy, torch, pandas and jax
        return value.tolist()
    return str(value)


def ignored(patterns: Any) -> tuple[str, ...]:
    """Return the shell patterns of an option as a tuple; UsageError for any other value."""
    if patterns is None:
        return ()
    if not isinstance(patterns, (list, tuple)):
        raise WrongTypeError(
            f'ignore_patterns is a list of shell patterns, such as ["*.tmp"], not {patterns!r}'
        )
    for each in patterns:
        if not isinstance(each, str) or not each.strip("/"):
            raise UsageError(f"ignore_patterns has {each!r}, which is no shell pattern")
    return tuple(each.rstrip("/").removeprefix("./") for each in patterns)
