"""Details: the task of an entry, and the inputs or numbers that name it to people.

They are in the `meta` of a reference, and in this machine's index, so that a list of thousands of
entries reads none of these. They decide nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from memoflow.display import printable
from memoflow.fields import loaded
from memoflow.fingerprint.outline import MAPPING, SEQUENCE
from memoflow.kinds.memo_fields import leaves_of
from memoflow.names import Ref
from memoflow.store import Store

_MOST_CHARACTERS = 4000
_LONGEST_TEXT = 72
_LONGEST_ITEMS = 48
_MARK_DIGITS = 8
_FIRST_NUMBERS = ("epoch", "step", "loss", "accuracy")


class DetailField(NamedTuple):
    """A named value in short; `mark` tells apart two values of the same text, "" if none has."""

    name: str
    text: str
    mark: str = ""


class Details(NamedTuple):
    """The pathspec of an entry's task, or the name of its call, and the fields that name it."""

    origin: str = ""
    fields: tuple[DetailField, ...] = ()

    def to_text(self) -> str:
        """Return the details as the index keeps them."""
        return json.dumps([self.origin, *self.fields], ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> Details:
        """Return the details that `to_text` wrote; ValueError for anything else."""
        try:
            origin, *rows = json.loads(text)
            return cls(str(origin), tuple(DetailField(*map(str, row)) for row in rows))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"these are no details: {error}") from None


def details_of(kind: str, meta: Mapping[str, Any]) -> Details:
    """Return the details in the `meta` of a reference; empty ones if it is damaged."""
    try:
        if kind == "memo":
            return Details(printable(str(meta["origin"])), _bounded(_of_result(meta)))
        return Details(printable(str(meta["task"])), _bounded(_of_save(kind, meta)))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return Details()


def record(store: Store, ref: Ref, meta: Mapping[str, Any]) -> None:
    """Note the details of an entry that was just saved in this machine's index."""
    store.index.record_details([(ref, details_of(ref.key.kind, meta).to_text())])


def _bounded(fields: Iterable[DetailField]) -> tuple[DetailField, ...]:
    """Return clean fields, as many as there is room for."""
    found: list[DetailField] = []
    room = _MOST_CHARACTERS
    for name, text, mark in fields:
        clean = DetailField(printable(name), printable(text), printable(mark))
        room -= sum(map(len, clean))
        if room < 0:
            break
        found.append(clean)
    return tuple(found)


def _of_result(meta: Mapping[str, Any]) -> Iterator[DetailField]:
    outlines = meta.get("outlines") or {}
    for kind, name, digest, _, *summary in meta["inputs"]:
        leaves = leaves_of(list(map(list, outlines.get(name) or ()))) if kind != "config" else ()
        if leaves:
            yield from _of_leaves(name, leaves)
        else:
            yield DetailField(name, _short("".join(summary)), _digits(digest))
    for _, name, digest, *_ in meta.get("reads") or ():
        yield DetailField(name, "", _digits(digest))


def _of_leaves(name: str, leaves: Iterable[tuple[str, str, str]]) -> Iterator[DetailField]:
    """Yield the parts of a value by path; a short list or set of plain items is one of them."""
    rows = list(leaves)
    at = 0
    while at < len(rows):
        path, text, mark = rows[at]
        at += 1
        if mark not in (MAPPING, SEQUENCE):
            yield DetailField(name + path, _short(text), mark[:_MARK_DIGITS])
            continue
        items = [each for each in rows if _is_item(each[0], path)]
        whole = _together(items, mark)
        if whole:
            yield DetailField(name + path, whole)
            rows = rows[:at] + [each for each in rows[at:] if each not in items]
        elif mark == SEQUENCE:
            yield DetailField(f"{name}{path}", _short(text))


def _is_item(path: str, parent: str) -> bool:
    """Return whether a path is that of an item of a list or set."""
    rest = path[len(parent) :] if path.startswith(parent) else ""
    is_item = rest[1:-1].isdigit() if rest.startswith("[") else rest.startswith("{")
    return is_item and rest[-1:] in "]}" and "." not in rest


def _together(items: list[tuple[str, str, str]], mark: str) -> str:
    """Return the items of a list or set as one text; empty if that is long or hides any."""
    if not items or any(mark for _, _, mark in items):
        return ""
    # A member of a set is in its path alone.
    texts = [
        path.rpartition("{")[2][:-1] if path.endswith("}") else text for path, text, _ in items
    ]
    text = ", ".join(texts)
    pair = "[]" if mark == SEQUENCE else "{}"
    return f"{pair[0]}{text}{pair[1]}" if len(text) <= _LONGEST_ITEMS else ""


def _of_save(kind: str, meta: Mapping[str, Any]) -> Iterator[DetailField]:
    if kind == "hub":
        revision, commit = str(meta["revision"]), str(meta["commit"])
        yield DetailField("", f"{meta['repo_id']}@{revision}")
        if revision != commit:
            yield DetailField("commit", commit[:_MARK_DIGITS])
        return
    yield DetailField("", str(meta.get("label" if kind == "model" else "name") or ""))
    metadata = loaded(meta["metadata"])
    numbers = {
        name: _number(value)
        for name, value in metadata.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    first = sorted(numbers, key=lambda name: not name.lower().endswith(_FIRST_NUMBERS))
    for name in first:
        yield DetailField(name, numbers[name])
    for name, value in metadata.items():
        if isinstance(value, (str, bool)) and len(str(value)) <= _LONGEST_ITEMS:
            yield DetailField(name, str(value))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _short(text: str) -> str:
    """Return a text without its middle if it is long: names and paths often differ at the end."""
    if len(text) <= _LONGEST_TEXT:
        return text
    half = (_LONGEST_TEXT - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _digits(digest: str) -> str:
    return f"#{digest.rpartition(':')[2][: _MARK_DIGITS - 1]}" if digest else ""
