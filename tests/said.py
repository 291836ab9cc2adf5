"""Said: the lines that are said, without their levels."""

from __future__ import annotations

from collections.abc import Callable


def kept_in(lines: list[str]) -> Callable[..., None]:
    """Return a way to say lines that keeps them."""

    def say(line: str, level: int = 0) -> None:
        lines.append(line)

    return say
