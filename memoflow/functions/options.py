"""Options of `memoize` on a function."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import WrongTypeError, usage_error
from memoflow.store import Store
from memoflow.units import duration, flag

MODES = ("on", "off", "read-only", "only", "shadow")
MODE_VARIABLE = "METAFLOW_MEMOFLOW_MODE"  # Metaflow's configuration of steps goes by it, too.
SCOPES = ("function", "global")
CODECS = ("auto", "pickle", "cloudpickle")


@dataclass(frozen=True)
class FunctionOptions:
    """The options of one memoized function; None for `store` is the default store."""

    ignore: frozenset[str] = frozenset()
    ttl: timedelta | None = None
    version: str = ""
    mode: str | None = None
    scope: str = "function"
    environment: bool = True
    single_flight: bool = True
    codec: str = "auto"
    store: Store | str | os.PathLike[str] | None = None

    @property
    def effective_mode(self) -> str:
        """The mode in force now."""
        return self.mode or os.environ.get(MODE_VARIABLE) or "on"

    @classmethod
    def of(cls, **given: Any) -> FunctionOptions:
        """Check the options of `memoize`; UsageError names the wrong one."""
        read = {name: _READ[name](name, value) for name, value in given.items() if name in _READ}
        unknown = sorted(given.keys() - _READ.keys())
        if unknown:
            raise WrongTypeError(
                f"memoize of a function has no option {unknown[0]!r}; "
                f"its options are {', '.join(_READ)}"
            )
        return cls(**read)


def _names(option: str, value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, Iterable) or not all(isinstance(each, str) for each in found):
        raise WrongTypeError(f"memoize({option}=...) takes a list of names, not {value!r:.100}")
    return frozenset(each.strip() for each in found if each.strip())


def _duration(option: str, value: Any) -> timedelta | None:
    return None if value is None else duration(f"memoize({option}=...)", value)


def _choice(option: str, value: Any) -> str:
    choices = {"mode": MODES, "scope": SCOPES, "codec": CODECS}[option]
    if value not in choices:
        raise usage_error(value, str)(
            f"memoize({option}=...) takes one of {', '.join(choices)}, not {value!r:.100}"
        )
    return str(value)


def _version(option: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, (str, int, float)):
        raise WrongTypeError(f"memoize({option}=...) takes a text or a number, not {value!r:.100}")
    return str(value)


def _flag(option: str, value: Any) -> bool:
    return flag(f"memoize({option}=...)", value)


def _place(option: str, value: Any) -> Any:
    if value is None or isinstance(value, (Store, str, os.PathLike)):
        return value
    raise WrongTypeError(
        f"memoize({option}=...) takes a store, a directory or an address, not {value!r:.100}"
    )


_READ = {
    "ignore": _names,
    "ttl": _duration,
    "version": _version,
    "mode": lambda name, value: None if value is None else _choice(name, value),
    "scope": _choice,
    "environment": _flag,
    "single_flight": _flag,
    "codec": _choice,
    "store": _place,
}
