"""Card page: what a memoized task was found under, as one HTML file that needs nothing else.

A few kilobytes, without a script: there is one for each task, and a foreach has thousands. What
Metaflow's own components draw with is a megabyte a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache

from memoflow.dataclass import dataclass
from memoflow.display import escape
from memoflow.fingerprint import Part
from memoflow.kinds.memo import MemoEntry
from memoflow.units import readable, span

_MOST_ROWS = 300
_PACKAGES = ("package", "python")
_LONGEST = 300  # characters of one cell


@dataclass(frozen=True)
class Shown:
    """What a card tells of a task.

    `outcome` is "hit", "miss" or "audit". `code` is the scope's parts, `inputs` what was read,
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
    """Return what is to be told of a task that did not run."""
    return Shown(
        task=task,
        outcome="hit",
        why=f"{span(entry.run_time_s)} saved",
        facts={"origin": entry.origin, "key": str(entry.ref.key)},
        code=code,
        inputs=(*entry.inputs, *entry.reads),
        outputs=_sizes(entry),
    )


def of_audit(task: str, entry: MemoEntry, code: Sequence[Part], came_to: str) -> Shown:
    """Return what is to be told of a task that ran to be compared with what is stored."""
    return replace(of_hit(task, entry, code), outcome="audit", why=came_to)


def _sizes(entry: MemoEntry) -> dict[str, int]:
    """Return how large each output is: pickled, and not yet packed."""
    return {
        name: int(artifact.info.get("size") or artifact.packed_size)
        for name, artifact in entry.artifacts.items()
    }


def page(shown: Shown) -> str:
    """Return the page; whatever names and values hold, it is shown as text."""
    sections = [
        f'<p class="badge {escape(shown.outcome)}">{escape(shown.outcome)}</p>'
        f'<p class="why">{escape(shown.why)}</p>',
        _facts({"task": shown.task, **shown.facts}),
        _notes(shown.notes),
        _inputs(shown.inputs),
        _code(tuple(shown.code)),
        _table(
            "Outputs",
            ("name", "size"),
            ((name, readable(size)) for name, size in sorted(shown.outputs.items())),
        ),
    ]
    title = escape(f"Memo of {shown.task}")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>Memo</h1>\n{''.join(sections)}</main></body></html>\n"
    )


@lru_cache(maxsize=16)
def _code(parts: tuple[Part, ...]) -> str:
    """Return what the code of a step is: the same for all its tasks, which may be thousands."""
    code = [part for part in parts if part.kind not in ("names", *_PACKAGES)]
    packages = [part for part in parts if part.kind in _PACKAGES]
    return _table(
        "Code",
        ("name", "where", "kind", "value", "digest"),
        ((p.name, p.where, p.kind, p.summary, _digest(p.digest)) for p in code),
    ) + _table("Packages", ("name", "version"), ((p.name, p.summary or p.digest) for p in packages))


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{_breaking(value)}</dd>" for name, value in facts.items()
    )
    return f"<dl>{rows}</dl>\n"


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{_cell(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>\n' if items else ""


def _inputs(inputs: Sequence[Part] | None) -> str:
    if inputs is None:
        return ""
    if not inputs:
        return "<h2>Inputs</h2>\n<p>It reads nothing.</p>\n"
    return _table(
        "Inputs",
        ("name", "value", "digest"),
        ((part.name, part.summary, _digest(part.digest)) for part in inputs),
    )


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    found = list(rows)
    if not found:
        return ""
    used = [i for i in range(len(columns)) if any(row[i] for row in found)]
    columns = [columns[i] for i in used]
    found = [[row[i] for i in used] for row in found]
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>\n"
        for row in found[:_MOST_ROWS]
    )
    more = len(found) - _MOST_ROWS
    rest = f"<p>and {more} more</p>\n" if more > 0 else ""
    return (
        f"<h2>{escape(title)}</h2>\n<table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>\n{rest}"
    )


def _cell(text: str) -> str:
    return _breaking(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _breaking(text: str) -> str:
    """Return a text that may be broken into lines after its slashes."""
    return escape(text).replace("/", "/<wbr>")


def _digest(text: str) -> str:
    return text.rpartition(":")[2][:12]


# Colours as in Metaflow's own cards, and in the dark by the same few variables.
_STYLE = """
:root{--ink:#333;--soft:#6a6a6a;--line:#e3e3e3;--paper:#fff;--band:#f6f6f6;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#ddd;--soft:#999;--line:#3a3a3a;--paper:#1c1c1e;
--band:#262629}}
body{margin:0;background:var(--paper);color:var(--ink);
font:14px/1.5 Roboto,system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px}
h1{font-size:26px;font-weight:500;margin:0 0 12px}
h2{font-size:18px;font-weight:500;margin:32px 0 8px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:16px 0;padding:12px 16px;
background:var(--band);border-radius:6px}
dt{color:var(--soft)}
dd{margin:0;font-family:"Roboto Mono",ui-monospace,Menlo,Consolas,monospace;font-size:13px;
overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;font-weight:500;color:var(--soft);white-space:nowrap}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere}
td:last-child,td:first-child{font-family:"Roboto Mono",ui-monospace,Menlo,Consolas,monospace;
font-size:12px}
.badge{display:inline-block;margin:0 10px 0 0;padding:2px 12px;border-radius:12px;color:#fff;
font-weight:500}
.hit{background:#2b8a3e}.miss{background:#b35900}.audit{background:#1864ab}
.why{display:inline;font-size:16px;overflow-wrap:anywhere}
.notes{margin:16px 0;padding:10px 16px 10px 32px;background:var(--band);border-radius:6px;
overflow-wrap:anywhere}
"""
