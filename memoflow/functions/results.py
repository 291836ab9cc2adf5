"""Results: the stored results of a function or step as rows, for people and for pandas."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.display import escape, printable
from memoflow.errors import NoFingerprintError, NotFoundError, UsageError, WrongTypeError
from memoflow.fingerprint import of_argument
from memoflow.fingerprint.outline import flat
from memoflow.functions.memoized import MemoizedFunction
from memoflow.functions.values import Items
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.memo_list import input_name, read_results
from memoflow.kinds.value_file import pickled
from memoflow.masking import Mask
from memoflow.names import Key, Ref
from memoflow.pickling import load
from memoflow.storages.opening import open_store
from memoflow.store import Store
from memoflow.store.entries import entries
from memoflow.units import moment, readable, span

_LONGEST_TEXT = 60
_MOST_ROWS = 20
_MOST_NAMES = 5
_CODE_DIGITS = 12
_COLUMNS = ("created", "ran", "size", "inputs")
_FRAME_COLUMNS = (
    *("run_time_s", "size_bytes", "created", "expires", "is_expired", "origin", "key", "code"),
)


@dataclass(frozen=True)
class ResultRow:
    """One stored result: of a function with its `value`, of a step with the names of `outputs`.

    `inputs` are the arguments, or the values that a step read, as short texts. `code` is the
    beginning of the code key, `origin` the call or task that ran.
    """

    name: str
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    run_time_s: float
    size_bytes: int
    created: datetime
    expires: datetime | None
    is_expired: bool
    origin: str
    key: str
    code: str
    _store: Store = field(repr=False, compare=False)
    _entry: MemoEntry = field(repr=False, compare=False)

    @property
    def is_function(self) -> bool:
        return bool(self._entry.value)

    @cached_property
    def value(self) -> Any:
        """The value of the function, loaded when it is asked for; of a generator a list of items.

        UsageError for a step; NotFoundError or IntegrityError if it is gone or damaged.
        """
        if not self.is_function:
            raise UsageError(
                f"{self.name} is a step, whose outputs Metaflow loads: "
                f"Task({self.origin!r})[NAME].data, from metaflow import Task"
            )
        found = load(*pickled(self._store, self._entry))
        return list(map(load, found.items)) if isinstance(found, Items) else found

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {input_name(part): part.digest for part in self._entry.inputs}

    def _cells(self) -> tuple[str, str, str, str]:
        inputs = ", ".join(f"{name}={text}" for name, text in self.inputs.items())
        is_short = len(inputs) <= _LONGEST_TEXT
        return (
            moment(self.created.timestamp()) + " (expired)" * self.is_expired,
            span(self.run_time_s),
            readable(self.size_bytes),
            printable(inputs if is_short else f"{inputs[: _LONGEST_TEXT - 3]}..."),
        )


class Results(list[ResultRow]):
    """Stored results of one function or step, newest first."""

    def __init__(self, rows: Iterable[ResultRow], name: str, mask: Mask) -> None:
        super().__init__(rows)
        self.name = name
        self._mask = mask

    def __repr__(self) -> str:
        lines = [_COLUMNS, *(row._cells() for row in self[:_MOST_ROWS])]
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        padded = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        ]
        return "\n".join([self._title, *map(str.rstrip, padded if self else []), *self._more])

    def _repr_html_(self) -> str:
        rows = [
            "".join(f"<{tag} style='text-align:left'>{escape(cell)}</{tag}>" for cell in cells)
            for tag, cells in [("th", _COLUMNS), *(("td", r._cells()) for r in self[:_MOST_ROWS])]
        ]
        lines = "".join(f"<tr>{row}</tr>" for row in rows)
        more = "".join(f"<p>{escape(line)}</p>" for line in self._more)
        return f"<table><caption><b>{escape(self._title)}</b></caption>{lines}</table>{more}"

    @property
    def _title(self) -> str:
        return f"{len(self)} result{'s' * (len(self) != 1)} of {printable(self.name)}"

    @property
    def _more(self) -> list[str]:
        return [f"and {len(self) - _MOST_ROWS} more"] if len(self) > _MOST_ROWS else []

    def to_pandas(self) -> Any:
        """Return a data frame, with a column `input NAME` for each input.

        UsageError if pandas is not installed.
        """
        try:
            import pandas as pd  # Here, since nothing else needs it and it need not be installed.
        except ImportError as error:
            raise UsageError(
                f"to_pandas needs pandas, which cannot be imported ({error}): pip install pandas"
            ) from error
        inputs = dict.fromkeys(name for row in self for name in row.inputs)
        columns: dict[str, list[Any]] = {"name": [row.name for row in self]}
        columns |= {f"input {name}": [row.inputs.get(name) for row in self] for name in inputs}
        columns |= {name: [getattr(row, name) for row in self] for name in _FRAME_COLUMNS}
        return pd.DataFrame(columns)

    def one(self, **inputs: Any) -> ResultRow:
        """Return the single result with these inputs, each a value or the text shown for it.

        UsageError, with the difference between them, if it is not exactly one.
        """
        known = dict.fromkeys(name for row in self for name in row.inputs)
        for name in inputs.keys() - known.keys() if self else ():
            raise UsageError(f"{self.name} has no input {name!r}; it has {_first(known)}")
        found: list[ResultRow] = list(self)
        for name, value in inputs.items():
            digest, text = self._digest(name, value), value if isinstance(value, str) else None
            same = [row for row in found if row._digests.get(name) == digest]
            found = same or [row for row in found if row.inputs.get(name, "") == text]
        if len(found) == 1:
            return found[0]
        asked = ", ".join(f"{name}={value!r:.60}" for name, value in inputs.items())
        if found:
            raise UsageError(
                f"{len(found)} results of {self.name} match ({asked}); they differ in "
                f"{_first(_differences(found))}"
            )
        stored = "; ".join(f"{name} is {_first(_texts(self, name))}" for name in inputs)
        raise UsageError(
            f"0 of {len(self)} results of {self.name} match ({asked})" + f"; {stored}" * bool(self)
        )

    def _digest(self, name: str, value: Any) -> str:
        try:
            return self._mask.digest(name, value, of_argument(value, name=name))
        except NoFingerprintError:
            return ""


def results(
    name: str | MemoizedFunction | Callable[..., Any],
    *,
    store: Store | str | os.PathLike[str] | None = None,
) -> Results:
    """Return the stored results of a function or of a step, newest first.

    `name` is a memoized function, `"module.function"`, the name of a function alone if only one
    has it, or `"Flow/step"`. `store` None is that of the function, or where Metaflow keeps its.
    Expired results are marked; damaged ones are left out, with a warning. NotFoundError, with names
    that are close, if nothing is stored under a name.

        memoflow.results("train.embed").one(text="a").value
    """
    function = getattr(name, "__func__", name)  # Of a method that is bound.
    if not isinstance(function, (str, MemoizedFunction)):
        raise WrongTypeError(f"results takes a memoized function or a name, not {name!r:.100}")
    opened = _store(function, store)
    found = entries(opened)
    refs: dict[tuple[str, str], list[Ref]] = {}
    for entry in found.values():
        if memo.is_result(entry.ref.key):
            module, of = entry.ref.key.parts[1:3]
            refs.setdefault((module, of), []).append(entry.ref)
    if isinstance(function, MemoizedFunction):
        _, module, of = function._series.parts
        home = module, of
    else:
        home = _chosen(function, refs, opened)
    everything = [row(opened, each) for each in read_results(opened, refs.get(home, ()))]
    everything.sort(key=lambda each: (each.created, each.key))
    # A run may be recorded twice: with the modules that it loaded, its code has another key.
    rows = list({each.origin: each for each in everything}.values())[::-1]
    return Results(rows, rows[0].name if rows else ".".join(home), _mask(opened))


def row(store: Store, entry: MemoEntry) -> ResultRow:
    """Return the row of one result."""
    ref = entry.ref
    created = _when(ref.created)
    assert created is not None
    return ResultRow(
        name=name_of(entry),
        inputs={
            input_name(part): flat(part.outline, _LONGEST_TEXT) or part.summary
            for part in entry.outlined_inputs
        },
        outputs=tuple(sorted(entry.artifacts)),
        run_time_s=entry.run_time_s,
        size_bytes=ref.size_bytes,
        created=created,
        expires=_when(ref.expires),
        is_expired=store.remembered.expiry.may_be_over(ref),
        origin=entry.origin,
        key=str(ref.key),
        code=ref.key.parts[3][:_CODE_DIGITS],
        _store=store,
        _entry=entry,
    )


def name_of(entry: MemoEntry) -> str:
    """Return `module.function` for the result of a function, `Flow/step` for that of a step."""
    _, home, name, *_ = entry.ref.key.parts
    return f"{home}.{name}" if entry.value else f"{home}/{name}"


def _when(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def _mask(store: Store) -> Mask:
    return Mask(frozenset(), store.id.encode)


def _store(function: Any, store: Store | str | os.PathLike[str] | None) -> Store:
    if isinstance(store, Store):
        return store
    if store is None and isinstance(function, MemoizedFunction):
        return function._place_or_raise().store
    return open_store(None if store is None else os.fspath(store))


def _chosen(name: str, known: Mapping[tuple[str, str], list[Ref]], store: Store) -> tuple[str, str]:
    """Return the module and function, or flow and step, of a name."""
    names = {"/".join(home): home for home in known} | {".".join(home): home for home in known}
    if name in names:
        return names[name]
    alone = [home for home in known if home[1] == name]
    if len(alone) > 1:
        raise UsageError(f"{name!r} is in several: name one of {_first(map('.'.join, alone))}")
    if alone:
        return alone[0]
    close = difflib.get_close_matches(name, [*names, *(of for _, of in known)], n=3)
    hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise NotFoundError(f"{store.backend} has no results of {name!r}{hint}")


def _differences(rows: list[ResultRow]) -> Iterator[str]:
    """Yield in words the determinants that are not the same in all rows."""
    for name in dict.fromkeys(name for row in rows for name in row.inputs):
        if len({row._digests.get(name) for row in rows}) > 1:
            yield f"{name} ({_first(_texts(rows, name))})"
    if len({row.code for row in rows}) > 1:
        yield "code or environment"
    if len({Key.parse(row.key).parts[-2] for row in rows}) > 1:
        yield "files and variables that they read"


def _texts(rows: Iterable[ResultRow], name: str) -> list[str]:
    return list(dict.fromkeys(row.inputs[name] for row in rows if name in row.inputs))


def _first(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - _MOST_NAMES} more" * (len(shown) > _MOST_NAMES)
    return ", ".join(shown[:_MOST_NAMES]) + more
