"""Card page: key, inputs and outputs of a memoized task, in one HTML file without links.

A few kilobytes, without a script: there is one for each task, and a foreach has thousands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import lru_cache

from memoflow.dataclass import dataclass
from memoflow.fingerprint import Part
from memoflow.kinds.decision import Decision
from memoflow.kinds.memo import MemoEntry
from memoflow.page import parts
from memoflow.page.frame import page as framed
from memoflow.page.frame import room_left
from memoflow.page.parts import Html
from memoflow.units import readable

_PACKAGES = ("package", "python")
_CODE = ("name", "where", "kind", "value", "digest")
_ROOM_FOR_CODE = 15_000
_ROOM_FOR_PACKAGES = 3_000


@dataclass(frozen=True)
class Shown:
    """The content of a card of one task.

    `outcome` is "hit", "miss" or "audit". `code` is parts of the code key, `inputs` what was read,
    None if nobody knows; `outputs` are bytes by name, `notes` what the task's log says besides.
    """

    task: str
    outcome: str
    why: str
    facts: Mapping[str, str]
    code: Sequence[Part] = ()
    inputs: Sequence[Part] | None = None
    outputs: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def of_hit(task: str, entry: MemoEntry, code: Sequence[Part]) -> Shown:
    """Return the content for a task that did not run."""
    decision = Decision.hit(entry.origin, entry.ref.created, entry.run_time_s)
    return Shown(
        task=task,
        outcome=decision.outcome,
        why=decision.saved,
        facts={"origin": entry.origin, "key": str(entry.ref.key)},
        code=code,
        inputs=(*entry.inputs, *entry.reads),
        outputs={  # Pickled, and not yet packed.
            name: int(artifact.info.get("size") or artifact.packed_size)
            for name, artifact in entry.artifacts.items()
        },
    )


def page(shown: Shown) -> str:
    """Return the page."""
    top = [
        Html(
            f'<p class="badge {parts.text(shown.outcome)}">{parts.text(shown.outcome)}</p>'
            f'<p class="why">{parts.text(shown.why)}</p>'
        ),
        parts.facts({"task": shown.task, **shown.facts}),
        _notes(shown.notes),
    ]
    code = _code(tuple(shown.code))
    left = room_left([*top, code])
    inputs = _inputs(shown.inputs, most_bytes=left * 2 // 3)
    sizes = ((name, readable(size)) for name, size in sorted(shown.outputs.items()))
    left -= len(inputs.encode())
    outputs = parts.table(("name", "size"), sizes, heading="Outputs", most_bytes=left)
    return framed("Memo", [*top, inputs, code, outputs], subject=f"Memo of {shown.task}")


@lru_cache(maxsize=16)
def _code(found: tuple[Part, ...]) -> Html:
    """Return the code of a step, which is the same for all its tasks: there may be thousands."""
    code = [part for part in found if part.kind not in ("names", *_PACKAGES)]
    packages = [part for part in found if part.kind in _PACKAGES]
    rows = ((p.name, p.where, p.kind, p.summary, _digest(p.digest)) for p in code)
    versions = ((p.name, p.summary or p.digest) for p in packages)
    return parts.joined(
        [
            parts.table(_CODE, rows, heading="Code", most_bytes=_ROOM_FOR_CODE),
            parts.table(
                ("name", "version"), versions, heading="Packages", most_bytes=_ROOM_FOR_PACKAGES
            ),
        ]
    )


def _notes(notes: Sequence[str]) -> Html:
    items = "".join(f"<li>{parts.text(note)}</li>" for note in notes)
    return Html(f'<ul class="notes">{items}</ul>\n' if items else "")


def _inputs(inputs: Sequence[Part] | None, *, most_bytes: int) -> Html:
    if inputs is None:
        return Html("")
    if not inputs:
        return parts.joined([parts.title("Inputs"), parts.note("It reads nothing.")])
    rows = ((part.name, part.summary, _digest(part.digest)) for part in inputs)
    return parts.table(("name", "value", "digest"), rows, heading="Inputs", most_bytes=most_bytes)


def _digest(text: str) -> str:
    return text.rpartition(":")[2][:12]
