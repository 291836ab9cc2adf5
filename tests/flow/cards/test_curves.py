"""The curves of a card: what the metadata of saves holds, in a chart a number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memoflow.flow.cards.card_page import page
from memoflow.flow.cards.curves import best_of
from memoflow.flow.cards.journal import Act
from memoflow.kinds.checkpoint import Best
from memoflow.page.frame import MOST_BYTES
from tests.browser import look
from tests.page_reader import Reader, SeenChart

LEAST_LOSS = Best("loss", 3, is_least=True)
SERIES = "checkpoint/Train/start/user:alice/0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def saves(metadata: list[dict[str, Any]], name: str = "mfchckpt") -> list[Act]:
    return [
        Act(
            verb="saved",
            kind="checkpoint",
            name=name,
            key=f"{SERIES}/{number:08d}-0f1e2d3c",
            origin="Train/1/start/2",
            began=float(number),
            took_s=0.1,
            size_bytes=1000,
            new_bytes=100,
            metadata=each,
        )
        for number, each in enumerate(metadata, 1)
    ]


def page_of(acts: list[Act], best: Best | None = LEAST_LOSS) -> str:
    return page(acts, {"task": "Train/1/start/2"}, began=0.0, ended=2000.0, best=best)


def charts(acts: list[Act], best: Best | None = LEAST_LOSS) -> list[SeenChart]:
    """Return the charts of metadata, by their labels."""
    seen = Reader(page_of(acts, best)).charts
    return [each for each in seen if "the table of saves" in each.label]


def places(chart: SeenChart, *colours: str) -> list[list[tuple[float, float]]]:
    """Return the points of each path, from the left and the top."""
    return [
        [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", part)]
        for colour in colours
        for path in chart.paths.get(colour, [])
        for part in path.split("M")[1:]
    ]


def test_each_number_has_a_chart_and_texts_have_none() -> None:
    found = charts(saves([{"epoch": n, "loss": n, "f1": n, "of": "x", "ok": True} for n in (1, 2)]))
    assert [each.label.split(";")[0] for each in found] == ["loss by epoch", "f1 by epoch"]


def test_a_curve_goes_along_by_a_field_that_rises_else_by_the_saves() -> None:
    rising = charts(saves([{"step": n * n, "loss": n} for n in (0, 1, 2)]))
    assert places(rising[0], "curve") == [[(0, 200), (250, 100), (1000, 0)]]
    again = charts(saves([{"step": n, "loss": n} for n in (5, 5, 6)]))
    assert again[0].label.startswith("loss by save")
    assert [x for x, _ in places(again[0], "curve")[0]] == [0, 500, 1000]


def test_the_best_and_the_last_save_are_marked() -> None:
    acts = saves([{"loss": loss} for loss in (3, 1, 2)])
    (chart,) = charts(acts)
    assert chart.tips == ["best: loss 1, save 2", "last: loss 2, save 3"]
    assert places(chart, "best", "last") == [[(500, 200)], [(1000, 100)]]
    seen = Reader(page_of(acts))
    assert [row["mark"] for row in seen.table("Saved").dicts()] == ["last", "best", ""]
    assert seen.facts["best save"] == acts[1].key
    assert seen.facts["last save"] == acts[2].key


def test_of_equal_saves_the_newer_is_best_and_those_without_the_field_are_not() -> None:
    acts = saves([{"loss": 1}, {"loss": 1}, {"loss": math.nan}, {}, {"loss": "0"}])
    assert best_of(acts, LEAST_LOSS) == [acts[1]]


def test_without_keep_best_only_the_last_save_is_marked() -> None:
    (chart,) = charts(saves([{"loss": loss} for loss in (3, 1, 2)]), None)
    assert chart.tips == ["last: loss 2, save 3"]


def test_a_value_that_is_not_finite_is_a_gap_and_counted() -> None:
    acts = saves([{"loss": loss} for loss in (5, 4, math.nan, 3, math.inf, 2, 10**400, 1, 0)])
    (chart,) = charts(acts)
    assert [len(run) for run in places(chart, "curve")] == [2, 2]
    assert [len(run) for run in places(chart, "point")] == [1, 1]
    assert "save; 3 not finite" in page_of(acts)


def test_a_value_that_is_missing_is_passed_over() -> None:
    acts = saves([{"epoch": 0, "loss": 2}, {"epoch": 1}, {"epoch": 2, "loss": 0}])
    (chart,) = charts(acts)
    assert places(chart, "curve") == [[(0, 0), (1000, 200)]]


def test_the_greatest_and_the_least_of_very_many_saves_are_drawn() -> None:
    values = [500.0] * 1000
    values[333], values[777] = 0.0, 1000.0
    (chart,) = charts(saves([{"loss": value} for value in values]))
    (points,) = places(chart, "curve")
    assert {0.0, 200.0} <= {y for _, y in points}
    assert len(points) <= 100


def test_saves_of_two_names_have_a_curve_each() -> None:
    metadata = [{"loss": 1}, {"loss": 2}]
    found = charts([*saves(metadata, "weights"), *saves(metadata, "ema")])
    titles = [each.label.partition(" by ")[0] for each in found]
    assert titles == ["loss of weights", "loss of ema"]


def test_a_click_selects_a_whole_key_of_any_length() -> None:
    acts = saves([{}])
    key = f"checkpoint/Train/start/{'s' * 240}/{'i' * 240}/00000001-0f1e2d3c"
    acts[0] = Act("saved", "checkpoint", "", key, "", 0.0, 0.1, 1, 1)
    html = page_of(acts)
    assert Reader(html).table("Saved").dicts()[0]["key"] == key
    spans = re.findall(r'<span class="all">(.*?)</span>', html)
    assert {span.replace("<wbr>", "") for span in spans} == {key}
    assert ".all{user-select:all" in html


def _losses(value: Callable[[int], Any], count: int = 12) -> list[Act]:
    return saves([{"epoch": n, "loss": value(n)} for n in range(count)])


CASES = {
    "no metadata": saves([{}] * 5),
    "one save": _losses(float, 1),
    "very many": saves(
        [{"step": n, **{f"m{i}": (n * 7) % 13 for i in range(9)}} for n in range(1000)]
    ),
    "nothing finite": _losses(lambda n: math.nan),
    "texts": _losses(lambda n: "low"),
    "all the same": _losses(lambda n: 0.5),
    "as far apart as can be": _losses(lambda n: (-1) ** n * 1.7e308),
    "long names": saves([{"x" * 300: n, "<b>": n} for n in range(40)], "n" * 300),
}


@pytest.mark.parametrize("case", CASES)
def test_a_card_with_curves_is_at_most_thirty_kilobytes(case: str) -> None:
    html = page_of(CASES[case])
    assert len(html.encode()) <= MOST_BYTES
    assert not re.search(r'd="[^"]*(nan|inf)', html)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("case", CASES)
def test_a_browser_shows_curves_whole(case: str, width: int, tmp_path: Path) -> None:
    (tmp_path / "card.html").write_text(page_of(CASES[case]))
    seen = look(tmp_path / "card.html", tmp_path / "profile", width=width, dark=width == 390)
    assert (seen.errors, seen.cut, seen.width) == ([], [], width)
    assert len(seen.charts) == len(Reader(page_of(CASES[case])).charts)
    assert all(wide > 200 and high > 100 for wide, high in seen.charts)
