"""Filters: conditions on entries and their order, as people write them: `size>1GB`, `-created`."""

from __future__ import annotations

import operator
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from memoflow.catalog.labels import Label, labels_of, names_of_fields
from memoflow.catalog.listed import Listed
from memoflow.errors import UsageError
from memoflow.kinds.details import Details
from memoflow.units import duration, size

_CONDITION = re.compile(r"\s*([^<>=!~\s]+)\s*(>=|<=|!=|!~|==|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
# Ages grow where times fall: `created>7d` is longer ago than 7 days, `expires<7d` sooner.
_SECONDS: dict[str, Callable[[Listed, float], float | None]] = {
    "created": lambda each, now: now - each.ref.created,
    "age": lambda each, now: now - each.ref.created,
    "used": lambda each, now: now - each.entry.used,
    "expires": lambda each, now: None if each.ref.expires is None else each.ref.expires - now,
}
_SIZES: dict[str, Callable[[Listed], int]] = {
    "size": lambda each: each.ref.size_bytes,
    "new": lambda each: each.ref.new_bytes,
}
_TEXTS: dict[str, Callable[[Listed, Label], Sequence[str]]] = {
    "id": lambda each, _: (each.ref.digest.hex[: len(each.id)],),
    "key": lambda each, _: (each.key,),
    "kind": lambda each, _: (each.kind,),
    "flow": lambda each, _: (each.flow,),
    "step": lambda each, _: (each.step, each.where),
    "run": lambda each, label: (label.run, label.run.partition("/")[2]),
    "name": lambda each, label: (label.text,),
}
FIELDS = (*_SIZES, *_SECONDS, *_TEXTS)
_LABELLED = ("run", "name")  # fields that are not in the reference
_LATEST_FIRST = {"size", "new", "created", "used"}
NO_LABEL = Label(())


class Condition(NamedTuple):
    """A condition on one field of an entry, as it was written in `text`."""

    field: str
    sign: str
    value: str
    text: str


class SortOrder(NamedTuple):
    """A field to sort by, and the direction."""

    field: str
    is_descending: bool


def condition(option: str, text: str) -> Condition:
    """Return a condition such as `size>1GB`; UsageError if it is none."""
    match = _CONDITION.fullmatch(text)
    if match is None or not match[3]:
        raise UsageError(
            f"{option} is a condition such as size>1GB, created<7d, step=fit or name~adam, not "
            f"{text!r}; its fields are {', '.join(FIELDS)}, and the names of inputs and metadata"
        )
    found = Condition(match[1], match[2], match[3], text)
    _test_of(found, 0.0)  # To refuse a value that cannot be compared before anything is read.
    return found


def order(option: str, text: str) -> SortOrder:
    """Return an order: a field, with `-` for descending and `+` for ascending before it."""
    field = text.lstrip("+-")
    if field not in FIELDS or len(text) - len(field) > 1:
        raise UsageError(
            f"{option} is one of {', '.join(FIELDS)}, with - for descending or + for ascending "
            f"before it, not {text!r}"
        )
    return SortOrder(field, text.startswith("-") or (field == text and field in _LATEST_FIRST))


def moment_of(option: str, text: str) -> float:
    """Return Unix seconds of a date, or of a time before now: `7d`."""
    found = _date(text)
    return time.time() - duration(option, text).total_seconds() if found is None else found


def needs_details(conditions: Iterable[Condition], by: SortOrder | None) -> bool:
    """Return whether conditions or an order need more than references."""
    fields = [each.field for each in conditions] + ([by.field] if by is not None else [])
    return any(field in _LABELLED or field not in FIELDS for field in fields)


def chosen(
    entries: Sequence[Listed], conditions: Sequence[Condition], known: Mapping[str, Details]
) -> list[Listed]:
    """Return the entries that meet all conditions; UsageError for a field that none has."""
    if not conditions:
        return list(entries)
    _refuse_unknown(conditions, known)
    now = time.time()
    named = labels_of(entries, known) if needs_details(conditions, None) else {}
    tests = [_test_of(each, now) for each in conditions]
    return [
        each
        for each in entries
        if all(
            test(each, named.get(each.key, NO_LABEL), known.get(each.key, Details()))
            for test in tests
        )
    ]


def in_order(
    entries: Sequence[Listed], by: SortOrder, known: Mapping[str, Details]
) -> list[Listed]:
    """Return entries in an order; entries that never expire come last in either direction."""
    named = labels_of(entries, known) if needs_details((), by) else {}
    # The number of descending order is negated, since the texts that follow never are.
    if by.field in _TEXTS:
        read = _TEXTS[by.field]
        found = sorted(entries, key=lambda each: each.key)
        return sorted(
            found,
            key=lambda each: _natural(read(each, named.get(each.key, NO_LABEL))[-1]),
            reverse=by.is_descending,
        )
    if by.field in _SIZES:
        number: Callable[[Listed], float] = _SIZES[by.field]
    elif by.field == "age":
        number = lambda each: -each.ref.created  # noqa: E731
    else:
        number = {
            "created": lambda each: each.ref.created,
            "used": lambda each: each.entry.used,
            "expires": lambda each: each.ref.expires or 0.0,
        }[by.field]
    sign = -1 if by.is_descending else 1
    return sorted(
        entries,
        key=lambda each: (
            by.field == "expires" and each.ref.expires is None,
            sign * number(each),
            each.key,
        ),
    )


def _natural(text: str) -> list[tuple[int, float, str]]:
    """Return a sort key in which numbers within a text count as such."""
    return [
        (0, float(each), "") if each[0].isdigit() else (1, 0.0, each)
        for each in re.findall(r"[0-9]+(?:\.[0-9]+)?|[^0-9]+", text)
    ]


_Test = Callable[[Listed, Label, Details], bool]


def _test_of(asked: Condition, now: float) -> _Test:
    field, sign, value, text = asked
    if field in _SIZES:
        read_size, most = _SIZES[field], size(f"the size in {text!r}", value)
        compare = _compare(asked)
        return lambda each, label, known: compare(read_size(each), most)
    if field in _SECONDS:
        return _test_of_time(asked, now)
    if field in _TEXTS:
        read = _TEXTS[field]
        fits = _matches(sign, value, text)
        return lambda each, label, known: fits(read(each, label))
    return lambda each, label, known: _holds(asked, known)


def _test_of_time(asked: Condition, now: float) -> _Test:
    field, sign, value, text = asked
    compare, read = _compare(asked), _SECONDS[field]
    if field == "expires" and value == "never":
        return lambda each, label, known: (each.ref.expires is None) == (sign != "!=")
    date = _date(value)
    if date is None:
        age = duration(f"the time in {text!r}, if it is no date such as 2026-01-31,", value)
        limit = age.total_seconds()
    elif field == "age":
        raise UsageError(f"the age in {text!r} is a time such as 7d; of a date write created")
    else:
        limit = now - date if field != "expires" else date - now
        if field != "expires":  # A later date is a lower age.
            compare = _compare(asked._replace(sign=_MIRRORED.get(sign, sign)))

    def test(each: Listed, label: Label, known: Details) -> bool:
        seconds = read(each, now)
        return seconds is not None and compare(seconds, limit)

    return test


_MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">="}


def _compare(asked: Condition) -> Callable[[float, float], bool]:
    if asked.sign not in _ORDER:
        raise UsageError(
            f"{asked.field} is compared with >, <, >=, <=, = or !=, not as in {asked.text!r}"
        )
    return _ORDER[asked.sign]


def _matches(sign: str, value: str, text: str) -> Callable[[Sequence[str]], bool]:
    """Return the test of texts for a value: equal, like a pattern with *, or with it in them."""
    if sign in ("~", "!~"):
        inner = value.lower()
        return lambda texts: (sign == "~") == any(inner in each.lower() for each in texts)
    if sign in ("=", "==", "!="):
        return lambda texts: (
            (sign != "!=") == any(each == value or fnmatchcase(each, value) for each in texts)
        )
    return lambda texts: _ORDER[sign](_natural(texts[-1]), _natural(value))


def _holds(asked: Condition, known: Details) -> bool:
    """Return whether an input or number of an entry meets a condition."""
    texts = [field.text for field in known.fields if asked.field in names_of_fields(field.name)]
    wanted = _float(asked.value)
    for each in texts:
        number = _float(each)
        if asked.sign in _ORDER and wanted is not None and number is not None:
            if _ORDER[asked.sign](number, wanted):
                return True
        elif _matches(asked.sign, asked.value, asked.text)((each, each.strip("'\""))):
            return True
    return False


def _refuse_unknown(conditions: Iterable[Condition], known: Mapping[str, Details]) -> None:
    others = [each for each in conditions if each.field not in FIELDS]
    if not others:
        return
    there = {
        name
        for details in known.values()
        for field in details.fields
        for name in names_of_fields(field.name)
        if name
    }
    for each in others:
        if each.field not in there:
            more = sorted(there, key=lambda name: (len(name), name))[:12]
            also = f"; of inputs and metadata: {', '.join(more)}" if more else ""
            raise UsageError(
                f"no entry has a field {each.field!r}, as in {each.text!r}; fields are "
                f"{', '.join(FIELDS)}{also}"
            )


def _date(text: str) -> float | None:
    """Return a date or time of this machine's zone as Unix seconds; None if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
