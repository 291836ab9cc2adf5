"""Shadow: tasks that run although they have a stored result, and are compared with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from metaflow.client import Run

from memoflow.flow.host import task_rows
from memoflow.flow.host.artifacts import TaskArtifacts
from memoflow.flow.host.client import looking_at
from memoflow.flow.memo.comparison import first_ones, next_steps_differ, outputs_differ
from memoflow.flow.memo.store_context import StoreContext
from memoflow.kinds.decision import FIELD, SHADOW, Decision, would_hit
from memoflow.kinds.memo import MemoEntry
from memoflow.kinds.memo_fields import Artifact
from memoflow.masking import Mask
from memoflow.tracking import UnreadableError

if TYPE_CHECKING:
    from memoflow.flow.memo.step_reads import Left

_MOST_NAMED = 20  # tasks that differ

Compared = tuple[str, Decision | None]  # the id of a task, and None if it had no result


def compare(
    entry: MemoEntry,
    outputs: Mapping[str, Any],
    left: Left,
    parent: Any,
    context: StoreContext,
    mask: Mask,
) -> str:
    """Return the differences between a stored result and a task that has run, "" for none.

    `outputs` are its artifacts as the recorder finds them, `parent` any datastore of its run.
    """
    readable = TaskArtifacts(parent)

    def load(artifact: Artifact) -> Any:
        return readable.value_of(artifact.sha1, artifact.info)

    now = {name: artifact for name, (artifact, _) in outputs.items()}
    found = chain(
        outputs_differ(entry.artifacts, now, load, mask),
        next_steps_differ(entry.next_step, left.next_step or {}),
        _files_differ(entry, context),
    )
    differences = list(found)
    return f"differs in {first_ones(differences)}" if differences else ""


def _files_differ(entry: MemoEntry, context: StoreContext) -> Iterator[str]:
    """Yield a line for each file of a result that the task has not written as it was."""
    for name, digest in sorted({**entry.named, **entry.files}.items()):
        try:
            now = context.digests.of_file(context.paths.path(name))
        except UnreadableError as error:
            yield f"file {name}: cannot be read ({error})"
            continue
        if now != digest:
            yield f"file {name}: {'not written' if now is None else 'other content'}"


def summary(pathspec: str, metadata: str | None) -> list[str]:
    """Return the lines about a run in shadow mode: time that hits would save, and differences."""
    with looking_at(None, metadata):
        run = Run(pathspec, _namespace_check=False)
        rows = task_rows.of_run(run, (FIELD,))
    steps: dict[str, list[Compared]] = {}
    for step, task in sorted(rows, key=lambda each: task_rows.in_order(each[1])):
        found = Decision.parse(rows[step, task].get(FIELD))
        is_shadow = found is not None and found.outcome == SHADOW
        steps.setdefault(step, []).append((task, found if is_shadow else None))
    if not steps:
        return []
    lines = chain.from_iterable(_of_step(pathspec, *each) for each in steps.items())
    return [f"shadow: in all {counted(list(chain(*steps.values())))}", *lines]


def _of_step(run: str, step: str, tasks: list[Compared]) -> Iterator[str]:
    yield f"shadow: {step}: {counted(tasks)}"
    differing = [
        f"shadow: {run}/{step}/{task} {each.detail}, unlike {each.nearest}"
        for task, each in tasks
        if each and each.detail
    ]
    yield from differing[:_MOST_NAMED]
    if len(differing) > _MOST_NAMED:
        yield f"shadow: {step}: {len(differing) - _MOST_NAMED} more differ; see memoflow why {run}"


def counted(tasks: list[Compared]) -> str:
    """Return the number of would-be hits, the time that they would save, and those that differ."""
    shadows = [each for _, each in tasks if each]
    return would_hit(
        len(shadows),
        f"{len(tasks)} task{'s' * (len(tasks) != 1)}",
        sum(each.saved_s for each in shadows),
        sum(1 for each in shadows if each.detail),
    )
