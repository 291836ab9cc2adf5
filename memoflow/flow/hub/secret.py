"""Secret: tokens that users pass, kept out of what Metaflow and memoflow write down."""

from __future__ import annotations

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
    return repr(hidden(value)) != repr(value)


def hidden(value: Any) -> Any:
    """Return arguments, in lists and dicts of any shape, with their secrets hidden."""
    if isinstance(value, dict):
        return {
            name: Secret(each) if name in _NAMES and isinstance(each, (str, dict)) else hidden(each)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(map(hidden, value))
    return value


def revealed(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value
