"""Display: values as a notebook shows them, and texts as a terminal may."""

from __future__ import annotations

from collections.abc import Iterable


def escape(text: str) -> str:
    """Return a text as HTML shows it; importing `html` would load a table of two thousand names."""
    for character, name in _ESCAPED:
        text = text.replace(character, name)
    return text


_ESCAPED = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#x27;"))


def printable(text: str) -> str:
    """Return a text in one line for a terminal, with control and bidi characters spelled out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, the end replaced by an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def shown(text: str) -> str:
    """Return a text that can do nothing to a terminal but go on in the next line, or a column."""
    if text.isprintable():
        return text
    return "".join(each if each in "\n\t" else printable(each) for each in text)


def html_rows(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return an HTML table of names and values, all of them escaped."""
    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption><b>{escape(title)}</b></caption>{lines}</table>"
