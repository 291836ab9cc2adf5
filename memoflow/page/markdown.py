"""Markdown: tables as GitHub shows them, in which no name is more than text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from memoflow.display import printable

# In a code span all but these stands for itself, and a person in it is not notified.
_UNLIKE_CODE = re.compile(r"[|`\\]")
_PLAIN = re.compile(r"[^\W_]|[ ,.]")


def code(value: str, most: int, *, keep_end: bool = False) -> str:
    """Return a name as code in one line, cut to a length."""
    text = shortened(printable(value), most, keep_end=keep_end)
    if not text.strip():
        return ""
    if not _UNLIKE_CODE.search(text):
        return f"`{text}`"
    return f"<code>{''.join(map(_entity, text))}</code>"


def shortened(text: str, most: int, *, keep_end: bool) -> str:
    """Return a text cut at its end; `keep_end` cuts its middle, where the end tells most."""
    if len(text) <= most:
        return text
    end = 2 * most // 3 if keep_end else 0
    return f"{text[: most - end - 1]}…{text[len(text) - end :]}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> str:
    """Return a table; the columns that `right` names, separated by spaces, hold numbers."""
    numbers = right.split()
    rule = ("---:" if name in numbers else "---" for name in columns)
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, [*rule], *rows))


def _entity(character: str) -> str:
    return character if _PLAIN.fullmatch(character) else f"&#{ord(character)};"
