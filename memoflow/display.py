"""Display: values as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable


def escape(text: str) -> str:
    """Return a text as HTML shows it.

    As `html.escape` does, whose module loads a table of two thousand names first.
    """
    for character, name in _ESCAPED:
        text = text.replace(character, name)
    return text


_ESCAPED = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"))


def html_rows(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values; whatever they hold is shown, never executed."""
    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption><b>{escape(title)}</b></caption>{lines}</table>"
