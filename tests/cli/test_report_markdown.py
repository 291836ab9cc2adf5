"""The report in Markdown, as a renderer of GitHub's tables reads it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import Result
from markdown_it import MarkdownIt

from tests.cli.conftest import Shelf
from tests.page_reader import Reader, SeenTable

NOW = time.time()
HOSTILE = [
    "<script>alert(1)</script>",
    "a|b\\|c`d``e",
    "line\nline\r\n# heading",
    "@everyone and #1 in org/name#2",
    "**bold** _it_ [link](http://x.y) https://x.y",
    "\x1b[31mred\x1b[0m \u202egnp.exe",
    "| --- |",
    "`",
    "\\",
    "&lt;b&gt; &amp;",
    "```\nfence",
]


def ran(shelf: Shelf, *tasks: tuple[str, str, bool, float]) -> None:
    """Note tasks: flow, step, whether it hit, seconds saved or run."""
    index = shelf.store.index
    for i, (flow, step, hit, seconds) in enumerate(tasks):
        task = flow, "1", step, f"{i}"
        index.record_outcomes([(*task, hit, seconds * hit, NOW)])
        if not hit:
            index.record_misses([(*task, "code_changed", 1, seconds, NOW)])


def rendered(text: str) -> tuple[str, list[SeenTable]]:
    """Return the HTML of a Markdown text, and its tables."""
    html = MarkdownIt("commonmark").enable("table").render(text)
    html = html.replace(' style="text-align:right"', "")
    return html, Reader(html).tables


def printed(done: Result) -> str:
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_first_line_tells_what_was_saved(shelf: Shelf) -> None:
    ran(shelf, ("F", "s", True, 60), ("F", "s", True, 7200), ("F", "s", False, 90))
    text = printed(shelf.run("report", "--markdown"))
    assert text.startswith("### memoflow: 2.0 h saved, 2 of 3 hits (67%)\n\n1 miss ran 90 s. ")


def test_tables_are_of_steps_and_of_reasons(shelf: Shelf) -> None:
    ran(shelf, ("F", "s", True, 60), ("F", "s", False, 90), ("F", "t", False, 5))
    _, (steps, reasons) = rendered(printed(shelf.run("report", "--markdown")))
    assert steps.columns == ["step", "hits", "misses", "saved", "misses ran", "last miss"]
    assert steps.rows[0] == ["F/s", "1", "1", "60 s", "90 s", ""]
    assert reasons.rows == [["the code changed", "2", "95 s", "F/s 90 s"]]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_one_cell_of_text(shelf: Shelf, name: str) -> None:
    ran(shelf, (name, "s", True, 60), ("G", "t", True, 60), ("G", "t", False, 1))
    text = printed(shelf.run("report", "--markdown"))
    html, (steps, _) = rendered(text)
    assert len(steps.rows) == 2
    (shown,) = [row[0] for row in steps.rows if row[0] != "G/t"]
    expected = "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
    assert shown == f"{expected}/s"
    assert "<script" not in html
    assert "<a " not in html
    assert "<strong>" not in html
    assert html.count("<h3>") == 1
    assert html.count("<h1>") == 0
    # A person is notified, and an issue linked, wherever they are named outside of code.
    assert "@" not in text.replace("`@everyone and #1 in org/name#2/s`", "")


def test_an_empty_store_is_told(shelf: Shelf, tmp_path: Path) -> None:
    assert shelf.run("forget", "--all", "--yes", "--force", "memo", "model", "hub", "checkpoint")
    text = printed(shelf.run("report", "--markdown"))
    assert text.startswith("### memoflow: no memoized task has run\n")


def test_without_a_store_there_is_an_error_and_no_text(shelf: Shelf, tmp_path: Path) -> None:
    shelf.root = tmp_path / "none"
    done = shelf.run("report", "--markdown")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"there is no memoflow store in {shelf.root}" in done.stderr


def test_a_page_and_a_text_are_written_at_once(shelf: Shelf, tmp_path: Path) -> None:
    html, text = tmp_path / "r.html", tmp_path / "r.md"
    done = shelf.run("report", "--html", str(html), "--markdown", str(text))
    assert printed(done) == f"wrote {html}\nwrote {text}\n"
    assert html.read_text().startswith("<!DOCTYPE html>")
    assert text.read_text().startswith("### memoflow")


@pytest.mark.parametrize("dash", [["--markdown"], ["--markdown", "-"]])
def test_what_is_printed_is_the_text_alone(shelf: Shelf, tmp_path: Path, dash: list[str]) -> None:
    done = shelf.run("report", "--html", str(tmp_path / "r.html"), *dash)
    assert printed(done).startswith("### memoflow")
    assert "wrote" not in done.stdout
    assert "wrote" in done.stderr


def test_json_names_the_files_and_has_the_text(shelf: Shelf, tmp_path: Path) -> None:
    html, text = str(tmp_path / "r.html"), str(tmp_path / "r.md")
    both = shelf.json("report", "--html", html, "--markdown", text)
    assert both == {"html": html, "markdown": text, "text": None}
    printed_one = json.loads(shelf.run("report", "--json", "--markdown").stdout)
    assert printed_one["text"].startswith("### memoflow")
    assert (printed_one["html"], printed_one["markdown"]) == (None, None)


def test_with_nothing_to_write_the_options_are_named(shelf: Shelf) -> None:
    assert "give --html FILE, --markdown or both" in shelf.refused("report")


def test_a_file_that_cannot_be_written_is_named(shelf: Shelf, tmp_path: Path) -> None:
    text = tmp_path / "none" / "r.md"
    done = shelf.run("report", "--markdown", str(text))
    assert done.exit_code == 1
    assert f"cannot write the report to {text}: No such" in done.stderr


def test_a_time_bounds_what_counts_and_is_named(shelf: Shelf) -> None:
    shelf.store.index.record_outcomes([("F", "1", "s", "1", True, 60.0, NOW - 9 * 86400)])
    ran(shelf, ("F", "s", True, 5))
    text = printed(shelf.run("report", "--markdown", "--since", "7d"))
    assert text.startswith("### memoflow: 5.0 s saved, 1 of 1 hit (100%)")
    assert "new in the last 7 days" in text


def test_of_many_steps_ten_are_told(shelf: Shelf) -> None:
    ran(shelf, *[("F", f"step{i:03d}", True, 1) for i in range(40)])
    text = printed(shelf.run("report", "--markdown"))
    assert "\nand 30 steps more\n" in text
    assert len(text) < 3000
