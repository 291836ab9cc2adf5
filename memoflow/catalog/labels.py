"""Labels: short texts for entries, made of the fields in which those shown together differ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from memoflow.catalog.listed import SHOWN_ID, Listed
from memoflow.kinds import checkpoint, hub, model
from memoflow.kinds.details import DetailField, Details, details_of
from memoflow.store import Store
from memoflow.store.entries import metas_at_hand

_MOST_NUMBERS = 6
_PROCESS = re.compile(r"[0-9.]+-.*-[0-9]+")  # of a function's call, in the place of a run
_COMPONENT = re.compile(r"\[[^\]]*\]|\{[^}]*\}|[^.\[{]+")
_QUOTED = re.compile(r"\['([^']*)'\]")

Value = tuple[str, str]  # text and mark


class LabelField(NamedTuple):
    """A part of a label: a value with its name, which may be empty."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}={self.text}" if self.name else self.text


class Label(NamedTuple):
    """The text for an entry among others of its step, in parts, and the task that saved it."""

    fields: tuple[LabelField, ...]
    origin: str = ""

    @property
    def text(self) -> str:
        return " ".join(map(str, self.fields))

    @property
    def run(self) -> str:
        """The run that saved it as Flow/run; empty for calls of functions, and if unknown."""
        flow, _, rest = self.origin.partition("/")
        run = rest.partition("/")[0]
        return f"{flow}/{run}" if run and not _PROCESS.fullmatch(run) else ""


def details(store: Store, entries: Iterable[Listed]) -> dict[str, Details]:
    """Return the details of entries, by key, as far as they are known or read without requests."""
    by_key = {each.key: each for each in entries}
    found = remembered(store, by_key)
    missing = (each.ref for key, each in by_key.items() if key not in found)
    new = []
    for ref, meta in metas_at_hand(store, missing):
        found[str(ref.key)] = read = details_of(ref.key.kind, meta)
        new.append((ref, read.to_text()))
    store.index.record_details(new)
    return found


def remembered(store: Store, wanted: Collection[str] | None = None) -> dict[str, Details]:
    """Return the details in this machine's index, by key: of the wanted keys; None: of all."""
    # All rows at once are quicker than many by name.
    keys = list(wanted) if wanted is not None and len(wanted) < 1000 else None
    found = {}
    for key, text in store.index.details(keys).items():
        if wanted is None or key in wanted:
            with suppress(ValueError):  # It is read anew from the entry, or left out.
                found[key] = Details.parse(text)
    return found


def labels(store: Store, shown: Sequence[Listed]) -> dict[str, Label]:
    """Return the label of each of the entries that are shown together, by key."""
    return labels_of(shown, details(store, shown))


def labels_of(shown: Sequence[Listed], known: Mapping[str, Details]) -> dict[str, Label]:
    """Return the label of each entry, given the details that are known."""
    groups: dict[tuple[str, str], list[Listed]] = defaultdict(list)
    for each in shown:
        groups[each.kind, each.where].append(each)
    found: dict[str, Label] = {}
    for (kind, _), group in groups.items():
        rows = [known.get(each.key, Details()) for each in group]
        of_kind = _of_results if kind == "memo" else _of_saves
        for each, row, fields in zip(group, rows, of_kind(group, rows), strict=True):
            named = fields or [LabelField("", each.what)]
            found[each.key] = Label(tuple(named), row.origin)
    return found


def _of_results(group: Sequence[Listed], rows: Sequence[Details]) -> list[list[LabelField]]:
    """Return the inputs in which results differ; of a single one all of them."""
    values = [{field.name: (field.text, field.mark) for field in row.fields} for row in rows]
    names = list(dict.fromkeys(name for row in values for name in row))
    shown = {name: _told_apart([row.get(name) for row in values]) for name in names}
    differing = [name for name in names if len(group) == 1 or len(set(shown[name])) > 1]
    # Digests say less than values, and are needed only where these do not tell all apart.
    plain = [name for name in differing if not any("#" in text for text in shown[name])]
    chosen = plain if plain and _is_unique(shown, plain) else differing
    whole = {name for name in names if all(not row.get(name, ("",))[0] for row in values)}
    short = _short_names(names, whole)
    found = [
        [LabelField(short[name], shown[name][i]) for name in chosen if shown[name][i]]
        for i in range(len(group))
    ]
    return _with(
        found,
        {
            "inputs": [_digits(each, 5) for each in group],
            "code": [_digits(each, 3) for each in group],
            "reads": [_digits(each, 6) for each in group],
        },
    )


def _of_saves(group: Sequence[Listed], rows: Sequence[Details]) -> list[list[LabelField]]:
    """Return the names and numbers of checkpoints, models or snapshots."""
    found, numbers = [], []
    for each, row in zip(group, rows, strict=True):
        fields = {field.name: field.text for field in row.fields}
        name = fields.pop("", "")
        if each.kind == checkpoint.KIND:
            name = f"{name} {checkpoint.number_of(each.ref.key)}".strip()
        if each.kind == hub.KIND:
            fields.pop("commit", "")
        found.append([LabelField("", name or each.what)])
        numbers.append([LabelField(*field) for field in fields.items()][:_MOST_NUMBERS])
    more: dict[str, list[str]] = {
        "task": [row.origin.rpartition("/")[2] for row in rows],
        "run": [row.origin.split("/")[1] if row.origin.count("/") == 3 else "" for row in rows],
        "": [each.ref.key.parts[-1][:SHOWN_ID] for each in group],
    }
    if group[0].kind == hub.KIND:
        more = {"commit": [each.what.rpartition("@")[2] for each in group], **more}
    elif group[0].kind == model.KIND:
        del more["task"]
    return [[*fields, *of_it] for fields, of_it in zip(_with(found, more), numbers, strict=True)]


def _with(found: list[list[LabelField]], more: dict[str, list[str]]) -> list[list[LabelField]]:
    """Add fields to those labels that are equal to others, as far as they differ by these."""
    for name, texts in more.items():
        same: dict[str, list[int]] = defaultdict(list)
        for i, fields in enumerate(found):
            same[" ".join(map(str, fields))].append(i)
        for alike in same.values():
            if len({texts[i] for i in alike}) > 1:
                for i in alike:
                    found[i] = [*found[i], *([LabelField(name, texts[i])] if texts[i] else [])]
    return found


def _told_apart(values: Sequence[Value | None]) -> list[str]:
    """Return the texts of one field; with a digest where values differ and their texts do not."""
    known = [value for value in values if value is not None]
    alike = len({text for text, _ in known}) < len(set(known))
    return [
        "" if value is None else f"{value[0]}{value[1]}" if alike or not value[0] else value[0]
        for value in values
    ]


def _is_unique(shown: dict[str, list[str]], names: Sequence[str]) -> bool:
    rows = list(zip(*(shown[name] for name in names), strict=True))
    return len(set(rows)) == len(rows)


def _digits(entry: Listed, part: int) -> str:
    parts = entry.ref.key.parts
    return f"#{parts[part][:SHOWN_ID]}" if part < len(parts) else ""


def _short_names(names: Sequence[str], whole: Collection[str]) -> dict[str, str]:
    """Return the shortest end of each path that no other has: `lr` for `params.optimizer.lr`.

    Those in `whole` are no paths of values, but names of files and variables.
    """
    suffixes = {name: [name] if name in whole else list(_suffixes(name)) for name in names}
    count: dict[str, int] = defaultdict(int)
    for several in suffixes.values():
        for each in several:
            count[each] += 1
    return {
        name: next((each for each in several if count[each] == 1), name)
        for name, several in suffixes.items()
    }


def _suffixes(name: str) -> Iterable[str]:
    """Yield the ends of a path, the shortest first, and the path."""
    starts = [match.start() for match in _COMPONENT.finditer(name)]
    for start in reversed(starts[1:]):
        end = name[start:]
        if end[0] not in "[{":
            yield end
        elif quoted := _QUOTED.fullmatch(end):
            yield quoted[1]
    yield name


def names_of_fields(path: str) -> tuple[str, ...]:
    """Return the names by which people may call a field: `lr` and `params.lr`."""
    return tuple(_suffixes(path))


def texts_of(fields: Iterable[DetailField]) -> set[str]:
    """Return the texts by which people may call an entry by its fields: `lr=0.01`."""
    return {
        f"{name}={text}"
        for field in fields
        for name in _suffixes(field.name)
        for text in (field.text, f"{field.text}{field.mark}")
    }
