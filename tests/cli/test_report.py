"""The report: one page that needs nothing else, and shows what the index and the store know."""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from memoflow.cli.report import write_report
from memoflow.errors import UsageError
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from memoflow.units import readable
from tests.browser import look

NOON = datetime.now(timezone.utc).replace(hour=12, minute=0, second=0).timestamp()
DAY = 86400
_REST = ("scope", "results", "inputs", "refs", "00000001")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


def save(store: Store, step: str, content: bytes, *, flow: str = "Sweep") -> None:
    key = Key.of("memo", flow, step, "scope", "results", "inputs", "refs", "00000001")
    store.save(key, Payload(files={"x": content}), durable=False)


def ran(store: Store, *tasks: tuple[str, bool, float, float]) -> None:
    """Note tasks: step, whether it hit, seconds saved and how many days ago."""
    store.index.record_outcomes(
        ("Sweep", "1", step, str(i), hit, saved_s, NOON - DAY * ago)
        for i, (step, hit, saved_s, ago) in enumerate(tasks)
    )


def written(store: Store, tmp_path: Path) -> str:
    write_report(store, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def components(html: str, type: str) -> list[dict[str, Any]]:
    found = re.search(r'__MF_DATA__\["[^"]*"\] = "([^"]*)"', html)
    assert found
    (page,) = json.loads(base64.b64decode(found[1]))["components"]
    return [each for each in page["contents"] if each["type"] == type]


def boxes(html: str) -> dict[str, str]:
    """Return the figures on top."""
    (row,) = components(html, "table")[1]["data"]
    return {box["title"]: box["value"] for box in row}


def rows(html: str, chart: int) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = components(html, "vegaChart")[chart]["spec"]["data"]["values"]
    return values


def test_time_saved_is_summed_by_day_and_days_without_tasks_are_there(store, tmp_path):
    ran(store, ("fit", True, 60, 2), ("fit", True, 30, 2), ("load", True, 7, 0))
    days = rows(written(store, tmp_path), 0)
    assert [row["at"] for row in days] == [0, 0, 90, 0, 7]
    assert [row["hits"] for row in days] == [0, 0, 2, 0, 1]


def test_the_last_sixty_days_are_drawn(store, tmp_path):
    ran(store, ("fit", True, 1, 300), ("fit", True, 2, 0))
    assert len(rows(written(store, tmp_path), 0)) == 60


def test_sizes_are_summed_by_kind(store, tmp_path):
    save(store, "fit", b"x" * 5000)
    save(store, "load", b"x" * 5000)
    store.save(Key.of("model", "Sweep", "fit", "0a"), Payload(files={"x": b"y" * 3000}))
    sizes = {(row["kind"], row["what"]): row["bytes"] for row in rows(written(store, tmp_path), 0)}
    assert sizes["memo", "in all"] == 10000
    assert sizes["memo", "new when saved"] < 10000
    assert sizes["model", "in all"] == 3000


def test_what_the_cards_of_results_take_up_is_told(store, tmp_path):
    save(store, "fit", b"x")
    store.save(Key.of("card", "Sweep", "fit", *_REST), Payload(files={"c": b"x" * 5000}))
    html = written(store, tmp_path)
    sizes = {row["kind"]: row["bytes"] for row in rows(html, 0)}
    assert sizes["cards"] == 5000
    assert boxes(html)["Stored"] == readable(5000).replace(" ", "\N{NO-BREAK SPACE}")


def test_bytes_that_another_entry_brought_are_stored_when_that_is_gone(store, tmp_path):
    save(store, "fit", b"x" * 5000)
    save(store, "load", b"x" * 5000)
    store.forget(Key.of("memo", "Sweep", "fit", *_REST))
    assert boxes(written(store, tmp_path))["Stored"] == "5.0\N{NO-BREAK SPACE}kB"


def test_what_was_saved_before_the_days_drawn_is_told(store, tmp_path):
    ran(store, ("fit", True, 100, 300), ("fit", True, 2, 0))
    texts = [each["source"] for each in components(written(store, tmp_path), "markdown")]
    assert any("The last 60 days; 100 s more since " in text for text in texts)


def test_steps_whose_names_look_the_same_have_each_a_bar(store, tmp_path):
    flow = "Long" * 40
    outcomes = [(flow, "1", step, step, True, 1.0, NOON) for step in ("one", "two")]
    store.index.record_outcomes(outcomes)
    html = written(store, tmp_path)
    assert len({row["place"] for row in rows(html, 1)}) == 2
    axis = components(html, "vegaChart")[1]["spec"]["encoding"]["y"]["axis"]
    assert '/one", "' in axis["labelExpr"]
    assert '/two"]' in axis["labelExpr"]


def test_only_a_step_that_always_hit_has_all(store, tmp_path):
    ran(store, *[("fit", i > 0, 0, 0) for i in range(1000)])
    (_, _, steps) = components(written(store, tmp_path), "table")
    assert steps["data"][0][3] == "> 99%"


def test_times_are_utc_wherever_it_is_written(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        ran(store, ("fit", True, 1, 0))
        (_, _, steps) = components(written(store, tmp_path), "table")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert steps["data"][0][5].endswith(" 12:00")


def test_hit_rates_are_of_each_step(store, tmp_path):
    ran(
        store, ("fit", True, 1, 0), ("fit", True, 1, 0), ("fit", False, 0, 0), ("load", False, 0, 0)
    )
    (_, _, steps) = components(written(store, tmp_path), "table")
    assert [row[:4] for row in steps["data"]] == [
        ["Sweep/fit", "2", "1", "67%"],
        ["Sweep/load", "0", "1", "0%"],
    ]


def test_what_was_used_last_is_hottest(store, tmp_path, monkeypatch):
    for number in range(12):
        save(store, f"step{number:02d}", b"x" * 2000)
    store.index._clock = lambda: NOON + 10 * DAY  # type: ignore[method-assign]
    store.touch(store.find(Key.of("memo", "Sweep", "step05", *_REST)))
    *_, hottest, coldest = components(written(store, tmp_path), "table")
    assert hottest["data"][0][2] == "Sweep/step05"
    assert "Sweep/step05" not in [row[2] for row in coldest["data"]]


def test_hostile_names_are_text(store, tmp_path):
    save(store, "fit", b"x" * 2000, flow=HOSTILE)
    store.index.record_outcomes([(HOSTILE, "1", HOSTILE, "1", True, 1.0, NOON)])
    html = written(store, tmp_path)
    assert "<script>alert" not in html
    assert not any("alert" in each["source"] for each in components(html, "markdown"))


def test_nothing_is_fetched(store, tmp_path):
    html = written(store, tmp_path)
    assert not re.search(r"@import|fonts\.googleapis|<link[^>]*href=.http|<script[^>]*src=", html)


def test_a_place_that_cannot_be_written_is_named(store, tmp_path):
    with pytest.raises(UsageError, match=r"cannot write the report to .*/none/r\.html: No such"):
        write_report(store, tmp_path / "none" / "r.html")


def test_a_browser_draws_each_chart_without_an_error(store, tmp_path):
    save(store, "fit", b"x" * 2000, flow=HOSTILE)
    ran(store, ("fit", True, 1, 0), (HOSTILE, False, 0, 9))
    written(store, tmp_path)
    seen = look(tmp_path / "report.html", tmp_path / "profile")
    assert seen.errors == []
    assert len(seen.charts()) == 3
    assert all(width > 300 and height > 40 for width, height in seen.charts())


def test_a_browser_shows_an_empty_store_without_an_error(store, tmp_path):
    written(store, tmp_path)
    seen = look(tmp_path / "report.html", tmp_path / "profile")
    assert seen.errors == []
    assert "The store is empty." in seen.dom
