"""Pages: text stays text, tables and charts keep to their room, and every browser can show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from memoflow.page import chart, parts
from memoflow.page.frame import MOST_BYTES, page, room_left
from tests.browser import look
from tests.page_reader import Reader

HOSTILE = "</script></style><script>alert(1)</script>\x1b[31m\u202etxt.exe\ud800&\"'"
SPELLED = "</script></style><script>alert(1)</script>\\x1b[31m\\u202etxt.exe\\ud800&\"'"


def everything(text: str, axis: str = "5 MB") -> str:
    """Return a page with a text in each place that takes one."""
    marks = chart.drawn([chart.Mark({"new": chart.column(500, 9, 100)}, text)], most_tips=1)
    drawn = chart.chart(
        marks, label=text, colours={text: "new"}, up=[axis], along=["0", axis], below=text
    )
    table = parts.table([text, "n"], [[text, "1"]], heading=text, most_bytes=9000)
    shown = [
        parts.facts({text: text}),
        parts.figures([(text, text, text)]),
        parts.title(text),
        parts.note(text),
        parts.folded(text, table),
        drawn,
    ]
    return page(text, shown, subject=text)


def test_hostile_text_is_text_wherever_it_stands() -> None:
    html = everything(HOSTILE, axis=HOSTILE)
    seen = Reader(html)
    assert seen.scripts == []
    assert seen.facts == {SPELLED: SPELLED}
    assert seen.figures == {SPELLED: SPELLED}
    assert seen.table(SPELLED).rows == [[SPELLED, "1"]]
    assert (seen.charts[0].label, seen.charts[0].tips) == (SPELLED, [SPELLED])
    assert not re.search("[\x1b\u202e\ud800]", html)


def test_a_page_has_no_script_and_asks_no_server() -> None:
    assert not re.search(r"<script|<link|src=|url\(|@import|https?:", everything("x"))


def test_a_long_word_may_be_broken_and_is_the_same_when_copied() -> None:
    word = "a" * 100
    html = parts.text(f"dir/{word}")
    assert max(map(len, html.split("<wbr>"))) <= 16
    assert html.replace("<wbr>", "") == f"dir/{word}"


def test_a_text_that_is_too_long_is_cut() -> None:
    assert parts.text("b " * 500, 10) == "b b b b b…"


def test_a_table_keeps_to_its_room_and_counts_the_others() -> None:
    rows = [[f"name {i}", "'" * 100] for i in range(250)]
    html = parts.table(["name", "quotes"], rows, heading="Rows", most_bytes=5000)
    shown = len(Reader(page("x", [html], subject="x")).table("Rows").rows)
    assert 3 < shown < 10
    assert f"and {250 - shown} more" in html
    assert len(html.encode()) <= 5000


def test_a_table_without_room_has_its_first_row() -> None:
    html = parts.table(["name"], [["first"], ["second"]], most_bytes=0)
    assert "first" in html
    assert "and 1 more" in html


def test_columns_without_content_are_left_out() -> None:
    html = parts.table(["a", "b"], [["1", ""], ["2", ""]], most_bytes=5000)
    assert Reader(html).tables[0].columns == ["a"]


def test_no_rows_are_no_table() -> None:
    assert parts.table(["a"], [], heading="None", most_bytes=5000) == ""


def test_what_is_left_of_a_card_is_left_with_the_longest_frame() -> None:
    filler = parts.Html("x" * room_left([]))
    assert room_left([filler]) == 0
    html = page("Checkpoints and models", [filler], subject="'" * 300, script="s" * 200)
    assert len(html.encode()) <= MOST_BYTES


def test_many_marks_are_one_path_for_each_colour() -> None:
    marks = [chart.Mark({"new": chart.column(i, 1, 10)}, "tip") for i in range(50)]
    html = chart.drawn(marks, most_tips=30)
    assert html.count("<path") == 1
    assert "tip" not in html
    assert html.count("v-10h") == 50


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_whole_at_each_width_and_in_both_schemes(
    width: int, dark: bool, tmp_path: Path
) -> None:
    (tmp_path / "page.html").write_text(everything("word " * 40))
    seen = look(tmp_path / "page.html", tmp_path / "profile", width=width, dark=dark)
    assert seen.errors == []
    assert seen.width == width
    assert seen.is_dark is dark
    assert all(wide > 200 and high > 100 for wide, high in seen.charts)
