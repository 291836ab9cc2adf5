"""Nearest: the earlier result of a step that is most like what was missed, and what differs.

Results of the same code come first, compared by their inputs; else those of other code. Of many
only the newest are looked at, so that asking costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from memoflow.errors import IntegrityError, NotFoundError
from memoflow.fingerprint import Difference, Part, differences, of_references
from memoflow.kinds import memo
from memoflow.kinds.memo import Entry
from memoflow.names import Key, Ref
from memoflow.store import Store

_LOOKED_AT = 64
_LOOKED_AT_ELSEWHERE = 16  # where each takes a round trip
_SCOPES = 8


@dataclass(frozen=True)
class Nearest:
    """The task that left the result, when, and what differs from it, most telling first."""

    origin: str
    created: float
    differences: tuple[Difference, ...]


def nearest(
    store: Store,
    scope: Key,
    parts: Iterable[Part],
    *,
    inputs: tuple[Part, ...] | None = None,
    result: Key | None = None,
    before: float | None = None,
) -> Nearest | None:
    """Return the nearest result that was recorded before a time, None if there is none.

    `parts` are those of the scope; `inputs` None means that they are not known, and then one of the
    same scope differs in nothing. `result` is the key that was recorded after the miss, if any.
    """
    most = _LOOKED_AT if store.backend.is_local else _LOOKED_AT_ELSEWHERE
    refs = memo.recent(store, scope / "results", most, before=before)
    alike = [ref for ref in refs if ref.key != result]
    if alike:
        return _by_inputs(store, alike, inputs, result)
    refs = memo.recent(store, Key(scope.parts[:3]), most, before=before)
    others = [ref for ref in refs if ref.key != result]
    return _by_code(store, others, tuple(parts), inputs, result)


def _by_inputs(
    store: Store,
    refs: Sequence[Ref],
    inputs: tuple[Part, ...] | None,
    result: Key | None,
    *,
    enough: int = 1,
) -> Nearest | None:
    """Return the nearest by its inputs; one of `enough` differences ends the search."""
    best: Nearest | None = None
    for ref in refs:
        with suppress(IntegrityError, NotFoundError):  # Not there any more: no result.
            entry = memo.read(store, ref)
            found: list[Difference] = []
            if inputs is not None:
                found = of_inputs(entry.inputs, inputs) or _of_references(store, entry, result)
            if best is None or len(found) < len(best.differences):
                best = Nearest(entry.origin, ref.created, tuple(found))
            if len(best.differences) <= enough:
                break
    return best


def _by_code(
    store: Store,
    refs: Sequence[Ref],
    parts: tuple[Part, ...],
    inputs: tuple[Part, ...] | None,
    result: Key | None,
) -> Nearest | None:
    by_scope: dict[Key, list[Ref]] = {}
    for ref in refs:
        by_scope.setdefault(memo.scope_of(ref.key), []).append(ref)
    best: Nearest | None = None
    its: list[Ref] = []
    least: tuple[int, int, int] | None = None
    for same in list(by_scope.values())[:_SCOPES]:
        with suppress(IntegrityError, NotFoundError):
            was = memo.code_parts(store, same[0].key)
            found = differences(was, parts)
            if not was:
                continue
            far = _distance(was, parts, found)
            if least is None or far < least:
                origin = memo.read(store, same[0]).origin
                best, its, least = Nearest(origin, same[0].created, tuple(found)), same, far
    # Of other code, so one that read just the same may well be among them.
    with_inputs = _by_inputs(store, its, inputs, result, enough=0) if best and inputs else None
    if best is None or with_inputs is None:
        return best
    # Other code may read other things; only what both read says more.
    more = [each for each in with_inputs.differences if each.change == "changed"]
    return Nearest(with_inputs.origin, with_inputs.created, (*best.differences, *more))


def _distance(
    was: Iterable[Part], now: Iterable[Part], found: Sequence[Difference]
) -> tuple[int, int, int]:
    """Return how far code is from other code: what is named, what is not, lines that differ."""
    either = {(part.kind, part.name, part.digest) for part in was}
    either ^= {(part.kind, part.name, part.digest) for part in now}
    edited = sum(line[:1] in "+-" for each in found for line in each.diff.splitlines())
    return len(found), len(either), edited


def of_inputs(was: Iterable[Part], now: Iterable[Part]) -> list[Difference]:
    """Return what differs between the inputs of two tasks."""
    found = differences(was, now)
    if any(each.name == "input" for each in found):
        # Another item of a foreach mostly has another place, too.
        found = [each for each in found if each.name != "index"]
    return found


def _of_references(store: Store, entry: Entry, result: Key | None) -> list[Difference]:
    """Return what differs in the code of the classes that equal inputs are instances of."""
    mine = of_references(entry.refs) if result is None else None
    digest = mine.hex if mine is not None else result.parts[-2] if result is not None else ""
    if digest == entry.ref.key.parts[-2]:
        return []
    now = mine.parts if mine is not None else memo.reference_parts(store, result or entry.ref.key)
    found = differences(memo.reference_parts(store, entry.ref.key), now)
    names = ", ".join(name for _, name in entry.refs)
    return found or [Difference("code", f"classes of inputs ({names})")]
