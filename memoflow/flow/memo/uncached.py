"""Uncached: steps that are never recorded, said once a run and remembered for the next one.

What a step was found to read is a fact of this machine's index, under the code and the options
that it was found with. It only explains a miss: a task that can be recorded is, whatever is known.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint import Part, summary
from memoflow.flow.memo import attributes
from memoflow.flow.memo.code_key import edited_since
from memoflow.kinds.decision import Decision, Reason
from memoflow.masking import NOTHING, Mask
from memoflow.names import Digest
from memoflow.store import Store
from memoflow.units import span

if TYPE_CHECKING:
    from memoflow.flow.memo.lookup import MemoizedStep
    from memoflow.flow.memo.step_reads import StepReads

_MOST_NAMES = 200
_MOST_NAMED = 3


@dataclass(frozen=True)
class Uncached:
    """The reason why a task's result is not kept.

    `kind` is one word, by which it is said once a step; `lasts` is False for what the next task
    need not meet again.
    """

    kind: str
    text: str
    lasts: bool = True

    @property
    def line(self) -> str:
        return f"not cached: {self.text}"


def of_reads(
    reads: Iterable[str], blind: Mapping[str, None], memoized: MemoizedStep
) -> Uncached | None:
    """Return the reason why a task that read these can never be found again, else None."""
    unstable = attributes.unstable(dict.fromkeys(reads))
    if unstable:
        remedy = memoized.spelled("ignore", unstable)
        text = f"reads {', '.join(unstable)} (add {remedy} if it does not matter)"
        return Uncached("reads", text)
    if blind:
        named = memoized.spelled("inputs", ["..."])
        return Uncached(
            "blind", f"uses {', '.join(blind)}, so its inputs cannot be told (name them: {named})"
        )
    return None


def of_following(besides: StepReads, memoized: MemoizedStep) -> Uncached | None:
    """Return the reason why a task with these external reads cannot be found again, else None."""
    if besides.never:
        name = next(iter(besides.never))
        remedy = memoized.spelled("ignore", [name.removeprefix("file ")])
        why = _first(list(besides.never.values()))
        return Uncached(f"reads {name}", f"{why} (add {remedy} if it does not matter)")
    if besides.unsettled:
        return Uncached("unsettled", _first(besides.unsettled), lasts=False)
    return None


def _first(reasons: Sequence[str]) -> str:
    return f"{reasons[0]}, and {len(reasons) - 1} more" if len(reasons) > 1 else reasons[0]


def of_run_time(memoized: MemoizedStep, run_time_s: float) -> Uncached | None:
    """Return that a step was too fast to be worth recording, None if it was not."""
    least = memoized.options.min_time
    if least is None or run_time_s >= least.total_seconds():
        return None
    text = f"took {span(run_time_s)}, less than min_time={memoized.options.min_time_text}"
    return Uncached("min_time", text)


def remember(memoized: MemoizedStep, store: Store, found: Uncached) -> None:
    """Keep for the next run why nothing was recorded."""
    if found.lasts:
        store.index.set({_never(memoized): json.dumps([found.kind, found.text])})


def known(memoized: MemoizedStep, store: Store) -> Decision | None:
    """Return the decision on a step without results of which an earlier run found why."""
    never, differing = _never(memoized), _differing(memoized)
    facts = store.index.get([never, differing])
    if differing in facts:
        names, stable = json.loads(facts[differing])[:2]
        if not stable:
            return Decision.miss(Reason.DIFFERS_EACH_PROCESS, _made_anew(names))
    if never in facts:
        return Decision.miss(Reason.NOT_CACHEABLE, str(json.loads(facts[never])[1]))
    return None


def step_path(memoized: MemoizedStep) -> str:
    """Return the name of a step in facts: Flow/step."""
    return f"{memoized.shape.flow.__name__}/{memoized.step}"


def is_news(memoized: MemoizedStep, store: Store, run: str, kind: str) -> bool:
    """Tell whether a line of that kind was not said yet of the step in this run; it is now."""
    return store.index.set_if_changed(f"said:{step_path(memoized)}:{kind}", run)


def unmatched(memoized: MemoizedStep, store: Store) -> list[str]:
    """Return the names in `ignore=` that nothing matched which any task of the step has read.

    Where a task reads what another does not, one match is enough: it is remembered.
    """
    ignore = sorted(memoized.options.ignore)
    if not ignore:
        return []
    prefix = f"matched:{step_path(memoized)}"
    facts = {f"{prefix}:{name}": name for name in ignore}
    known = {facts[fact] for fact in store.index.get(list(facts))}
    store.index.set({f"{prefix}:{name}": "" for name in memoized.matched - known})
    return [name for name in ignore if name not in known | memoized.matched]


def _never(memoized: MemoizedStep) -> str:
    """Return the fact's name: options that leave the code key as it is may mend a step."""
    options = memoized.options
    asked = (sorted(options.ignore), options.inputs, str(options.min_time))
    return f"never:{memoized.code_key}:{Digest.of(repr(asked).encode()).hex[:16]}"


# What differs in each process: the scheduler tells what it has, the worker compares.


@dataclass(frozen=True)
class Seen:
    """The code of a step as a process saw it: its digest, values that code holds, and the rest.

    `data` is that of the flow's class, which is an input of steps that read it. It is compared by
    its summaries, which cost little: a date, a path and a number are whole in them.
    """

    code: str
    rest: str
    held: Mapping[str, str]
    data: Mapping[str, str]
    host: str
    at: float

    @classmethod
    def of(cls, memoized: MemoizedStep) -> Seen:
        code = memoized.code
        held = [part for part in code.parts if _holds_values(part)]
        named = {_label(part): part.digest.rpartition(":")[2][:8] for part in held[:_MOST_NAMES]}
        data = list(memoized.shape.constants.items())[:_MOST_NAMES]
        return cls(
            code=code.hex,
            rest=_rest(code.parts),
            held=named,
            data={name: _of_value(name, value, memoized.mask) for name, value in data},
            host=socket.gethostname(),
            at=memoized.looked_at,
        )


def differing(seen: Seen, memoized: MemoizedStep, store: Store) -> Decision | None:
    """Return the decision on a task whose process has other constants than the one that started it.

    None if they are the same, or if there is another cause: a file edited meanwhile, another
    machine. Nor if this process has what the one of an earlier run had: then only the scheduler has
    others, and workers can find what workers recorded.
    """
    mine = Seen.of(memoized)
    if mine.code == seen.code or mine.rest != seen.rest or mine.host != seen.host:
        return None
    names = [name for name, digest in mine.held.items() if digest != seen.held.get(name)]
    if not names or edited_since(seen.at):
        return None
    fact = _differing(memoized)
    now = {name: mine.held[name] for name in names}
    recalled = store.index.get([fact]).get(fact)
    before = json.loads(recalled)[2] if recalled is not None else None
    store.index.set({fact: json.dumps([names, before == now, now])})
    if before == now:
        return None
    return Decision.miss(Reason.DIFFERS_EACH_PROCESS, _made_anew(names))


def of_class_data(seen: Seen, memoized: MemoizedStep, inputs: Iterable[Part]) -> Uncached | None:
    """Return that a step read data of the flow's class that differs in each process, else None."""
    mine = memoized.seen
    if mine.host != seen.host:
        return None
    names = [
        f"self.{part.name}"
        for part in inputs
        if part.name in mine.data and mine.data[part.name] != seen.data.get(part.name)
    ]
    return Uncached("differs", _made_anew(names)) if names else None


def _made_anew(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} differs in each process: make it in the step"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    shown = ", ".join(names[:_MOST_NAMED])
    return f"{shown}{more} differ in each process: make them in the step"


def _holds_values(part: Part) -> bool:
    """Tell whether a part is a constant, or code whose text is known: its defaults may differ."""
    return part.kind == "constant" or (part.kind == "code" and bool(part.source))


def _label(part: Part) -> str:
    return f"constant {part.name}" if part.kind == "constant" else f"a default of {part.name}"


def _of_value(name: str, value: Any, mask: Mask) -> str:
    text = mask.digest(name, value, summary(value, mask=NOTHING))
    return Digest.of(text.encode("utf-8", "surrogatepass")).hex[:8]


def _rest(parts: Iterable[Part]) -> str:
    """Return the digest of the code without values of constants and defaults."""
    texts = [
        f"{part.kind} {part.name} {part.source if _holds_values(part) else part.digest}"
        for part in parts
        if part.kind != "names"  # What each name stands for has the digests of constants in it.
    ]
    return Digest.of("\n".join(sorted(texts)).encode("utf-8", "surrogatepass")).hex[:16]


def _differing(memoized: MemoizedStep) -> str:
    """Return the fact's name: by the text of the code and its constants, since an edit may mend."""
    return f"differs:{memoized.step_key}:{_rest(memoized.code.parts)}"
