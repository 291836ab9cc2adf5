"""Suggestions: the names that people may have meant, and those that a shell completes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping

from memoflow.catalog.labels import Label, remembered
from memoflow.catalog.listed import Listed, of_entries
from memoflow.kinds.details import Details
from memoflow.store import Store

_MOST_SUGGESTED = 3
_LIKENESS = 0.6
_LEAST_OF_ID = 1


def near(text: str, among: Iterable[Listed], known: Mapping[str, Details]) -> list[str]:
    """Return the names most like a text: flows, steps, functions, runs, tasks, ids and keys."""
    entries = list(among)
    names = dict.fromkeys([*_places(entries), *_runs(known)])
    depth = text.count("/")
    if depth >= 2:
        names.update(dict.fromkeys(each.key for each in entries))
        names.update(dict.fromkeys(each.origin for each in known.values() if each.origin))
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text.lower(), by_lower, _MOST_SUGGESTED, _LIKENESS)
    if not found:  # A step without its flow, or with that of another.
        steps = {name.rpartition("/")[2].lower(): name for name in names if "/" in name}
        last = text.rpartition("/")[2].lower()
        like = difflib.get_close_matches(last, steps, _MOST_SUGGESTED, _LIKENESS)
        return [steps[each] for each in like]
    return [by_lower[each] for each in found]


def names_to_complete(store: Store, incomplete: str) -> dict[str, str]:
    """Return the names that begin with a text, each with a few words about it."""
    entries = of_entries(store.index.entries())
    known = remembered(store)
    found = {name: _counted(number) for name, number in _places(entries).items()}
    if "/" in incomplete:
        found |= {name: f"run, {_counted(number)}" for name, number in _runs(known).items()}
        tasks = (each.origin for each in known.values())
        deep = incomplete.count("/") > 1
        found |= {task: "task" for task in tasks if deep and task.startswith(incomplete)}
        found |= {each.key: each.kind for each in entries}
    else:
        found |= {f"{kind}/": "kind" for kind in sorted({each.kind for each in entries})}
        found |= {run: "run" for run in _runs(known) if incomplete}
        if len(incomplete) >= _LEAST_OF_ID:
            found |= {each.id: f"{each.kind} {each.where}" for each in entries}
    return {name: about for name, about in found.items() if name.startswith(incomplete)}


def _counted(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


def _places(entries: Iterable[Listed]) -> Counter[str]:
    """Return flows and Flow/step, modules and their functions, with the number of entries."""
    found: Counter[str] = Counter()
    for each in entries:
        if each.flow:
            found[each.flow] += 1
        if each.step:
            found[each.where] += 1
    return found


def _runs(known: Mapping[str, Details]) -> Counter[str]:
    runs = (Label((), each.origin).run for each in known.values())
    return Counter(run for run in runs if run)
