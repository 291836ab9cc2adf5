"""Parts: facts, figures and tables as HTML, in which each name and value is text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from memoflow.display import escape, shown

_MOST_ROWS = 300
_LONGEST = 300  # characters of one cell
_MOST_OF_A_WHOLE = 4000
_SHORT = 24  # characters of a cell that stay in one line, such as a size and its unit
_MOST_OF_A_PHONE = 5  # columns that are still wide enough on one

# A line may end after a slash, and in a word that is too long for a column.
_BREAK = re.compile(r"/|[^\s/]{16}(?=[^\s/])")


class Html(str):
    """A text that is HTML already; each other `str` is escaped before it is on a page."""

    __slots__ = ()


def joined(parts: Iterable[Html]) -> Html:
    """Return parts one after the other."""
    return Html("".join(parts))


def text(value: str, longest: int = _LONGEST) -> Html:
    """Return a text as HTML, cut at its end, with control and bidi characters spelled out."""
    if isinstance(value, Html):
        return value
    if len(value) > longest:
        value = f"{value[: longest - 1]}…"
    # `shown` leaves no NUL in a text.
    return Html(escape(_BREAK.sub("\\g<0>\0", shown(value))).replace("\0", "<wbr>"))


def whole(value: str) -> Html:
    """Return a text, however long, that a click selects, to copy all of it."""
    return Html(f'<span class="all">{text(value, _MOST_OF_A_WHOLE)}</span>')


def title(value: str) -> Html:
    """Return a heading over the next parts."""
    return Html(f"<h2>{text(value)}</h2>\n")


def note(value: str) -> Html:
    """Return a line of text."""
    return Html(f"<p>{text(value)}</p>\n")


def folded(summary: str, part: Html) -> Html:
    """Return a part that is shown once somebody asks for it."""
    return Html(f"<details><summary>{text(summary)}</summary>{part}</details>\n")


def facts(values: Mapping[str, str]) -> Html:
    """Return names and values, below each other."""
    rows = (f"<dt>{text(name)}</dt><dd>{text(each, 1000)}</dd>" for name, each in values.items())
    return Html(f'<dl class="facts">{"".join(rows)}</dl>\n')


def figures(values: Iterable[tuple[str, str, str]]) -> Html:
    """Return figures side by side: the name, the value and a remark on each."""
    # A number and its unit stay together.
    boxes = (
        f"<div><dt>{text(name)}</dt><dd>{text(value).replace(' ', '&nbsp;')}</dd>"
        f"<dd>{text(remark)}</dd></div>"
        for name, value, remark in values
    )
    return Html(f'<dl class="figures">{"".join(boxes)}</dl>\n')


def bar(shares: Mapping[str, float]) -> Html:
    """Return a bar of parts by colours and shares of its width, beside cells that hold numbers."""
    parts = (f'<i class="{css}" style="width:{100 * n:.1f}%"></i>' for css, n in shares.items())
    return Html(f'<b class="bar" aria-hidden="true">{"".join(parts)}</b>')


def legend(colours: Mapping[str, str], title: str = "") -> Html:
    """Return the meaning of each colour, by its label, after the title of the chart."""
    items = [f'<span><i class="{css}"></i>{text(label)}</span>' for label, css in colours.items()]
    if title:
        items.insert(0, f"<span><b>{text(title)}</b></span>")
    return Html(f'<p class="legend">{"".join(items)}</p>\n' if items else "")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    most_bytes: int,
    heading: str = "",
    rest: str = "and {:,} more",
) -> Html:
    """Return a table of as many rows as there is room for, without columns that are empty.

    Below it stands the number of the others. No rows are no table and no heading.
    """
    found = list(rows)
    if not found:
        return Html("")
    used = [i for i in range(len(columns)) if any(row[i] for row in found[:_MOST_ROWS])]
    head = "".join(f'<th scope="col">{text(columns[i])}</th>' for i in used)
    most_bytes -= len(heading) + len(head) + 250  # And the tags around them, and the line below.
    body: list[str] = []
    for row in found[:_MOST_ROWS]:
        cells = "".join(_cell(row[i]) for i in used)
        body.append(f"<tr>{cells}</tr>\n")
        most_bytes -= len(body[-1].encode())
        if most_bytes < 0 and len(body) > 1:
            del body[-1]
            break
    more = len(found) - len(body)
    below = note(rest.format(more)) if more else ""
    kind = ' class="broad"' if len(used) > _MOST_OF_A_PHONE else ""
    # A table that is wider than the page scrolls by itself, by keyboard too.
    return Html(
        f'{title(heading) if heading else ""}<div class="wide" tabindex="0"><table{kind}><thead>'
        f"<tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>\n{below}"
    )


def _cell(value: str) -> str:
    if "<wbr>" in value if isinstance(value, Html) else len(value) > _SHORT:
        return f'<td class="long">{text(value)}</td>'
    return f"<td>{text(value).replace('<wbr>', '')}</td>"
