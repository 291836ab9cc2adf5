"""Secrets: users' tokens, kept out of the records of Metaflow and memoflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = ("token", "headers")


class Secret:
    """A value that is not shown: Metaflow keeps the arguments of decorators with each run."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"


def has_secret(value: Any) -> bool:
    """Tell whether arguments, in lists and dicts of any shape, hold a secret."""
    if isinstance(value, Mapping):
        return any(_is_secret(*item) or has_secret(item[1]) for item in value.items())
    return isinstance(value, (list, tuple)) and any(map(has_secret, value))


def hide(value: Any) -> Any:
    """Return arguments, in lists and dicts of any shape, with their secrets hidden."""
    if isinstance(value, Mapping):
        return {
            name: Secret(each) if _is_secret(name, each) else hide(each)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return (list if isinstance(value, list) else tuple)(map(hide, value))
    return value


def _is_secret(name: Any, value: Any) -> bool:
    if name == "endpoint" and isinstance(value, str):
        return "@" in value  # It holds a login.
    return name in _NAMES and not isinstance(value, (bool, Secret, type(None)))


def reveal(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value
