"""Arguments: the values that a call binds to the names of a function, and their digests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import Part, of_argument, outline, summary
from memoflow.masking import Mask

_PLAIN = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Arguments:
    """The parameters of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        parameters = _signature(function).parameters
        self.names = tuple(parameters)
        kinds = [each.kind for each in parameters.values()]
        self._is_plain = all(kind in _PLAIN for kind in kinds) and hasattr(function, "__defaults__")
        self._by_position = tuple(
            name for name, each in parameters.items() if each.kind is _PLAIN[0]
        )

    def bind(self, given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each parameter, defaults as they are now; TypeError as Python's.

        A value that is given by position and one given by name are the same.
        """
        if self._is_plain and len(given) <= len(self._by_position):
            bound = dict(zip(self._by_position, given, strict=False))
            if bound.keys().isdisjoint(named):
                bound.update(named)
                self._add_defaults(bound)
                if bound.keys() == {*self.names}:
                    return {name: bound[name] for name in self.names}
        found = _signature(self._function).bind(*given, **named)
        found.apply_defaults()
        return {
            # In any order: `f(**options)` is what `f(**dict(sorted(options.items())))` is.
            name: dict(sorted(value.items())) if _is_keywords(found, name) else value
            for name, value in found.arguments.items()
        }

    def _add_defaults(self, bound: dict[str, Any]) -> None:
        defaults = getattr(self._function, "__defaults__", None) or ()
        names = self._by_position[len(self._by_position) - len(defaults) :]
        for name, value in zip(names, defaults, strict=False):
            bound.setdefault(name, value)
        for name, value in (getattr(self._function, "__kwdefaults__", None) or {}).items():
            bound.setdefault(name, value)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    # Of what is called, which may take other arguments than what it wraps.
    try:
        return inspect.signature(function, follow_wrapped=False)
    except ValueError:  # One of C, which has none of its own.
        return inspect.signature(function)


def _is_keywords(bound: inspect.BoundArguments, name: str) -> bool:
    return bound.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD


def parts(bound: Mapping[str, Any], ignore: Collection[str], mask: Mask) -> tuple[Part, ...]:
    """Return a part for each argument that counts; NoFingerprintError for one without a digest."""
    return tuple(
        Part("input", name, mask.digest(name, value, of_argument(value, name=name)))
        for name, value in bound.items()
        if name not in ignore
    )


def described(found: tuple[Part, ...], bound: Mapping[str, Any], mask: Mask) -> tuple[Part, ...]:
    """Return the same parts with summaries of the values."""
    return tuple(
        Part(
            part.kind,
            part.name,
            part.digest,
            summary=summary(bound[part.name], part.name, mask),
            outline=outline(bound[part.name], part.name, mask),
        )
        for part in found
    )


def changed(found: tuple[Part, ...], bound: Mapping[str, Any], mask: Mask) -> str | None:
    """Return the name of a changed argument, None without one."""
    for part in found:
        value = bound[part.name]
        try:
            now = mask.digest(part.name, value, of_argument(value, name=part.name))
        except NoFingerprintError:
            return part.name
        if now != part.digest:
            return part.name
    return None
