"""Display: values as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable


def html_rows(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values; whatever they hold is shown, never executed."""
    # Here, since every task imports this, and only notebooks show anything.
    from html import escape

    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(value)}</td></tr>"
        for name, value in rows
    )
    return f"<table><caption><b>{escape(title)}</b></caption>{lines}</table>"
