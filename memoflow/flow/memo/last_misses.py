"""Last misses: the decision on the latest miss of each step, as this machine's index has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from memoflow.flow.memo.decision import Decision
from memoflow.index import Index

_MOST_BYTES = 2000


def keep(index: Index, flow: str, missed: Mapping[str, Decision]) -> None:
    """Remember the decisions on misses, by the names of their steps."""
    index.set({_fact(flow, step): decision.text(_MOST_BYTES) for step, decision in missed.items()})


def recall(index: Index, steps: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Decision]:
    """Return the decision on the last miss of each step, given as flow and step, where known."""
    facts = {_fact(*step): step for step in steps}
    told = {facts[fact]: Decision.parse(text) for fact, text in index.get(list(facts)).items()}
    return {step: decision for step, decision in told.items() if decision is not None}


def _fact(flow: str, step: str) -> str:
    return f"missed:{flow}/{step}"
