"""Nearest: the earlier result of a step that is nearest to a miss, and the differences from it.

Results of the same code come first, compared by their inputs; else those of other code. Only the
newest are looked at, so that asking costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

from memoflow.dataclass import dataclass
from memoflow.errors import IntegrityError, NotFoundError
from memoflow.fingerprint import Difference, Part, differences, of_references
from memoflow.kinds import memo
from memoflow.kinds.memo import MemoEntry
from memoflow.masking import ANY, Mask
from memoflow.names import Key, Ref
from memoflow.store import Store

_LOOKED_AT = 512
_LOOKED_AT_ELSEWHERE = 16  # where each takes a round trip
_MOST_CODE_KEYS = 8
_MOST_CODE_KEYS_ELSEWHERE = 3
ITEM, PLACE = "input", "index"  # of a foreach


@dataclass(frozen=True)
class Nearest:
    """The task that left the result, its time, and the differences, most telling first.

    `inputs` are those of the result, `expires` is until when it could be used.
    """

    origin: str
    created: float
    differences: tuple[Difference, ...]
    inputs: tuple[Part, ...] = ()
    expires: float | None = None


@dataclass(eq=False)
class EarlierResults:
    """The results of a step from before a run, read as far as they are asked for, and only once.

    `parts` make the code key. `before` is a time in Unix seconds, `run` the Flow/run whose own
    results do not count, `result` the key of one that does not. `mask` is as for `Candidates`.
    """

    store: Store
    code_key: Key
    parts: tuple[Part, ...]
    before: float | None = None
    run: str = ""
    result: Key | None = None
    mask: Mask = ANY
    _are_all = True

    @property
    def has_same_code(self) -> bool:
        return any(True for _ in self._same)

    def nearest(self, inputs: tuple[Part, ...] | None = None) -> Nearest | None:
        """Return the nearest result, None if there is none.

        `inputs` None means that they are not known: one of the same code differs in nothing then.
        """
        if self.has_same_code:
            return self._by_inputs(self._same, inputs)
        return self._by_code(inputs)

    @cached_property
    def _same(self) -> _Results:
        return _Results(self.store, self._recent(self.code_key / memo.RESULTS), self.run)

    def _recent(self, prefix: Key) -> list[Ref]:
        most = _LOOKED_AT_ELSEWHERE if self.store.backend.takes_round_trips else _LOOKED_AT
        refs = memo.recent(self.store, prefix, most, before=self.before)
        self._are_all = len(refs) < most
        return [ref for ref in refs if ref.key != self.result]

    def _by_inputs(
        self, results: _Results, inputs: tuple[Part, ...] | None, *, enough: int = 1
    ) -> Nearest | None:
        """Return the nearest by its inputs; `enough` differences, not of the item, end the search.

        Of those with as few differences, the one whose values have most parts in common.
        """
        best: _Result | None = None
        least: tuple[int, int] | None = None
        mine = None if inputs is None else _Shape(inputs)
        for result in results:
            if mine is None:
                return self._nearest(result, None)
            count, is_item = mine.unlike(result.shape)
            far = count, -mine.common(result.shape) if least is None or count <= least[0] else 0
            if least is None or far < least:
                best, least = result, far
            if count <= enough and not is_item:
                break
        return None if best is None else self._nearest(best, inputs)

    def _nearest(self, result: _Result, inputs: tuple[Part, ...] | None) -> Nearest:
        found: list[Difference] = []
        if inputs is not None:
            found = of_inputs(result.inputs, inputs, are_all=self._are_all)
            found = found or self._of_references(result.entry)
        ref = result.entry.ref
        return Nearest(result.entry.origin, ref.created, tuple(found), result.inputs, ref.expires)

    @cached_property
    def _other_code(self) -> tuple[Nearest, _Results] | None:
        """The results of the code that is most alike, and how that differs."""
        by_code_key: dict[Key, list[Ref]] = {}
        for ref in self._recent(Key(self.code_key.parts[:3])):
            by_code_key.setdefault(memo.code_key_of(ref.key), []).append(ref)
        found: tuple[Nearest, _Results] | None = None
        least: tuple[int, int, int] | None = None
        most = (
            _MOST_CODE_KEYS_ELSEWHERE if self.store.backend.takes_round_trips else _MOST_CODE_KEYS
        )
        for refs in list(by_code_key.values())[:most]:
            with suppress(IntegrityError, NotFoundError):
                was = memo.code_parts(self.store, refs[0].key)
                results = _Results(self.store, refs, self.run)
                newest = next(iter(results), None)
                if newest is None:
                    continue
                if not was:
                    found = found or (self._nearest(newest, None), results)
                    continue
                unlike = tuple(differences(was, self.parts))
                far = _distance(was, self.parts, unlike)
                if least is None or far < least:
                    least = far
                    found = replace(self._nearest(newest, None), differences=unlike), results
        return found

    def _by_code(self, inputs: tuple[Part, ...] | None) -> Nearest | None:
        found = self._other_code
        if found is None:
            return None
        best, results = found
        like = self._by_inputs(results, inputs, enough=0) if inputs else None
        if like is None:
            return best
        # Other code may read other things; only what both read says more.
        more = [each for each in like.differences if each.change in ("changed", "moved")]
        code = best.differences
        # Nor the item of a foreach: each task has another one, whether its code changed or not.
        more = [each for each in more if not code or each.name not in (ITEM, PLACE)]
        return replace(like, differences=(*code, *more))

    def _of_references(self, entry: MemoEntry) -> list[Difference]:
        """Return the differences in the code of the classes of equal inputs."""
        result = self.result
        mine = of_references(entry.refs, mask=self.mask) if result is None else None
        digest = mine.hex if mine is not None else result.parts[-2] if result is not None else ""
        if digest.partition(".")[0] == entry.ref.key.parts[-2].partition(".")[0]:
            return []
        store = self.store
        now = mine.parts if mine is not None else ()
        with suppress(IntegrityError, NotFoundError):
            now = now or memo.reference_parts(store, result or entry.ref.key)
            found = differences(memo.reference_parts(store, entry.ref.key), now)
            if found:
                return found
        names = ", ".join(name for _, name in entry.refs)
        return [Difference("code", f"classes of inputs ({names})")]


class _Shape:
    """The inputs of a task in a form that is quick to compare."""

    def __init__(self, inputs: Iterable[Part]) -> None:
        self.digests = {part.name: part.digest for part in inputs}
        self.leaves = frozenset((part.name, leaf) for part in inputs for leaf in part.outline)

    def unlike(self, other: _Shape) -> tuple[int, bool]:
        """Return the number of inputs that differ, and True if the item of a foreach does."""
        if self.digests == other.digests:
            return 0, False
        mine, others = self.digests, other.digests
        names = {name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name)}
        if ITEM in names:
            names.discard(PLACE)
        return len(names), ITEM in names

    def common(self, other: _Shape) -> int:
        return len(self.leaves & other.leaves)


class _Result:
    """A result that was read."""

    def __init__(self, entry: MemoEntry) -> None:
        self.entry = entry
        self.inputs = entry.outlined_inputs
        self.shape = _Shape(self.inputs)


class _Results:
    """Results by their refs, each read when it is first come to."""

    def __init__(self, store: Store, refs: Sequence[Ref], run: str) -> None:
        self._store = store
        self._left = list(reversed(refs))
        self._run = f"{run}/" if run else ""
        self._found: list[_Result] = []

    def __iter__(self) -> Iterator[_Result]:
        at = 0
        while at < len(self._found) or self._more():
            yield self._found[at]
            at += 1

    def _more(self) -> bool:
        while self._left:
            with suppress(IntegrityError, NotFoundError):  # Not there any more: no result.
                entry = memo.read(self._store, self._left.pop())
                if not (self._run and entry.origin.startswith(self._run)):
                    self._found.append(_Result(entry))
                    return True
        return False


def _distance(
    was: Iterable[Part], now: Iterable[Part], found: Sequence[Difference]
) -> tuple[int, int, int]:
    """Return the distance between two codes: named differences, other parts, lines."""
    either = {(part.kind, part.name, part.digest) for part in was}
    either ^= {(part.kind, part.name, part.digest) for part in now}
    edited = sum(line[:1] in "+-" for each in found for line in each.diff.splitlines())
    return len(found), len(either), edited


def of_inputs(
    was: Iterable[Part], now: Iterable[Part], *, are_all: bool = True
) -> list[Difference]:
    """Return the differences between the inputs of two tasks.

    Another item of a foreach mostly has another place, too, which is no second difference. Nor is
    the item beside something else, unless `are_all`: of the results that were not looked at one
    may have it.
    """
    found = differences(was, now)
    if any(each.name == ITEM for each in found):
        found = [each for each in found if each.name != PLACE]
    others = [each for each in found if each.name not in (ITEM, PLACE)]
    return others if others and not are_all else found
