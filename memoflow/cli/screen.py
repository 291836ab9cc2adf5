"""Screen: the terminal that is written to, if any: its width, its characters and its colours."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from memoflow.display import printable

BOLD, DIM, CYAN = "1", "2", "36"
_LEAST_COLUMNS = 20


def is_terminal() -> bool:
    """Return whether people read the output. It may be closed."""
    return bool(sys.stdout and sys.stdout.isatty())


def columns() -> int:
    """Return the width of the terminal."""
    return max(shutil.get_terminal_size((80, 24)).columns, _LEAST_COLUMNS)


def is_coloured() -> bool:
    """Return whether output has colours: on a terminal, as NO_COLOR, FORCE_COLOR and TERM say."""
    if os.environ.get("NO_COLOR") or not is_terminal():
        return False
    return bool(os.environ.get("FORCE_COLOR")) or os.environ.get("TERM") not in ("dumb", "unknown")


def styled(text: str, style: str) -> str:
    """Return a text with a style around it, where output has colours."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and is_coloured() else text


def has_unicode() -> bool:
    """Return whether output can have an ellipsis and lines of boxes."""
    try:
        "…─".encode(_encoding())
    except UnicodeError:
        return False
    return True


def ellipsis() -> str:
    return "…" if has_unicode() else "..."


def shown(text: str) -> str:
    """Return a text in one line, with characters spelled out that output cannot have."""
    text = printable(text)
    if text.isascii():
        return text
    encoding = _encoding()
    if not has_unicode():
        text = text.replace("…", "...")
    return text.encode(encoding, "backslashreplace").decode(encoding)


def width(text: str) -> int:
    """Return the number of columns that a text takes: two for each wide character."""
    if text.isascii():
        return len(text)
    # Here, since programs that read the output do not need it.
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, most: int) -> str:
    """Return the beginning of a text that fits into so many columns, with an ellipsis if cut."""
    if width(text) <= most:
        return text
    end = ellipsis()
    return _head(text, most - len(end)) + end if most > len(end) else _head(text, most)


def cut_start(text: str, most: int) -> str:
    """Return the end of a text that fits into so many columns."""
    return text if width(text) <= most else cut(text[::-1], most)[::-1]


def cut_middle(text: str, most: int) -> str:
    """Return the two ends of a text that fit into so many columns."""
    if width(text) <= most:
        return text
    gap = ellipsis()
    room = most - len(gap)
    if room < 2:
        return cut(text, most)
    head = _head(text, (room + 1) // 2)
    return head + gap + _head(text[::-1], room - width(head))[::-1]


def padded(text: str, to: int, *, right: bool = False) -> str:
    room = " " * (to - width(text))
    return room + text if right else text + room


def rule(widths: Sequence[int], gap: str) -> str:
    """Return the line below the heads of columns."""
    line = "─" if has_unicode() else "-"
    return line * (sum(widths) + len(gap) * (len(widths) - 1))


def _head(text: str, most: int) -> str:
    taken = 0
    for i, each in enumerate(text):
        taken += width(each)
        if taken > most:
            return text[:i]
    return text


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"
