"""Chart: marks over time, as SVG that is as wide as the page and keeps its height.

A chart library is a hundred times as large as a card may be. The marks are stretched with the page,
so the labels are HTML beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from memoflow.dataclass import dataclass
from memoflow.page.parts import Html, legend, text

# The units of all coordinates: x from the left, y from the bottom.
WIDTH, HEIGHT = 1000, 200

_GRID = f"M0 0h{WIDTH}M0 {HEIGHT // 2}h{WIDTH}M0 {HEIGHT}h{WIDTH}"


def column(x: float, width: float, height: float) -> str:
    """Return the path of a column around x."""
    return f"M{_n(x - width / 2)} {HEIGHT}v{_n(-height)}h{_n(width)}v{_n(height)}z"


def line(x: float, height: float) -> str:
    """Return the path of a line at x."""
    return f"M{_n(x)} {HEIGHT}v{_n(-height)}"


def dot(x: float, height: float) -> str:
    """Return the path of a dot, which a round cap makes of a line without length."""
    return f"M{_n(x)} {_n(HEIGHT - height)}h0"


def steps(points: Iterable[tuple[float, float]]) -> str:
    """Return the path of the area below values that hold from their x to the next one's."""
    path = "".join(f"H{_n(x)}V{_n(HEIGHT - height)}" for x, height in points)
    return f"M0 {HEIGHT}{path}H{WIDTH}V{HEIGHT}z"


def curve(points: Iterable[tuple[float, float]]) -> str:
    """Return the path of a line from point to point."""
    return "M" + "L".join(f"{_n(x)} {_n(HEIGHT - height)}" for x, height in points)


@dataclass(frozen=True)
class Mark:
    """Paths by their colours, and a text for a pointer that rests on them."""

    paths: Mapping[str, str]
    tip: str = ""


def drawn(marks: Sequence[Mark], *, most_tips: int) -> Html:
    """Return marks as SVG; where there are more than so many, without their texts."""
    if len(marks) <= most_tips:
        each = (f"<g><title>{text(m.tip, 160)}</title>{_paths(m.paths)}</g>" for m in marks)
        return Html("".join(each))
    merged: dict[str, str] = {}  # One path a colour takes a quarter of the bytes.
    for one in marks:
        for css, path in one.paths.items():
            merged[css] = merged.get(css, "") + path
    return _paths(merged)


def _paths(paths: Mapping[str, str]) -> Html:
    return Html("".join(f'<path class="{css}" d="{path}"/>' for css, path in paths.items()))


def chart(
    marks: Html,
    *,
    label: str,
    colours: Mapping[str, str],
    up: Sequence[str],
    along: Sequence[str],
    below: str = "",
    title: str = "",
) -> Html:
    """Return a chart; `label` is its text for those who do not see it.

    `up` are the labels of the left side from top to bottom, `along` those of the lower side, and
    `below` stands under them.
    """
    return Html(
        f'<figure>{legend(colours, title)}<div class="plot"><div class="up">{_spans(up)}</div>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(label).replace("<wbr>", "")}"><path class="grid" d="{_GRID}"/>'
        f'{marks}</svg><div class="along">{_spans(along)}</div></div>'
        f"<figcaption>{text(below)}</figcaption></figure>\n"
    )


def _spans(labels: Sequence[str]) -> str:
    return "".join(f"<span>{text(label)}</span>" for label in labels)


def _n(value: float) -> str:
    """Return a number in as few digits as a screen can show."""
    return f"{value:.1f}".removesuffix(".0")
