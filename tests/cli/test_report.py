"""The report: one page that needs nothing else, and shows what the index and the store know."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from memoflow.cli import report_page
from memoflow.cli.report import write_report
from memoflow.cli.report_figures import collect
from memoflow.errors import UsageError
from memoflow.names import Key
from memoflow.store import Payload, Store, open_store
from memoflow.units import readable, size
from tests.browser import look
from tests.page_reader import Reader

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


def missed(store: Store, *tasks: tuple[str, str, float, float]) -> None:
    """Note misses: step, reason, run time and how many days ago."""
    store.index.record_misses(
        ("Sweep", "2", step, str(i), reason, 1, run_s, NOON - DAY * ago)
        for i, (step, reason, run_s, ago) in enumerate(tasks)
    )


def written(store: Store, tmp_path: Path) -> str:
    write_report(store, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text()


def seen(store: Store, tmp_path: Path) -> Reader:
    return Reader(written(store, tmp_path))


def sizes(store: Store, tmp_path: Path) -> dict[str, dict[str, str]]:
    rows = seen(store, tmp_path).table("Size by kind").dicts()
    return {row["kind"]: row for row in rows}


def days(page: Reader) -> list[dict[str, str]]:
    """Return the table of days, the first of them first."""
    return page.table("Time saved by day").dicts()[::-1]


def test_time_saved_is_summed_by_day_and_days_without_tasks_are_there(store, tmp_path):
    ran(store, ("fit", True, 60, 2), ("fit", True, 30, 2), ("load", True, 7, 0))
    page = seen(store, tmp_path)
    assert [row["time saved"] for row in days(page)] == ["0.0 s", "0.0 s", "90 s", "0.0 s", "7.0 s"]
    assert [row["hits"] for row in days(page)] == ["0", "0", "2", "0", "1"]


def test_a_column_is_as_high_as_the_time_saved_on_its_day(store, tmp_path):
    ran(store, ("fit", True, 60, 2), ("load", True, 15, 0))
    (chart,) = seen(store, tmp_path).charts
    assert chart.heights("hit") == [200, 50]
    assert ": 60 s saved, 1 hits, 0 misses" in chart.tips[2]


def test_the_last_sixty_days_are_drawn(store, tmp_path):
    ran(store, ("fit", True, 1, 300), ("fit", True, 2, 0))
    page = seen(store, tmp_path)
    assert len(page.charts[0].tips) == len(days(page)) == 60


def test_sizes_are_summed_by_kind(store, tmp_path):
    save(store, "fit", b"x" * 5000)
    save(store, "load", b"x" * 5000)
    store.save(Key.of("model", "Sweep", "fit", "0a"), Payload(files={"x": b"y" * 3000}))
    found = sizes(store, tmp_path)
    assert found["memo"]["in all"] == "10.0 kB"
    assert size("new", found["memo"]["new when saved"]) < 10000
    assert found["model"]["in all"] == "3.0 kB"


def test_a_bar_is_as_long_as_its_kind_is_large(store, tmp_path):
    save(store, "fit", b"x" * 6000)
    store.save(Key.of("model", "Sweep", "fit", "0a"), Payload(files={"x": b"y" * 3000}))
    memo, model = seen(store, tmp_path).table("Size by kind").bars
    assert (sum(memo.values()), sum(model.values())) == (100, 50)


def test_what_the_cards_of_results_take_up_is_told(store, tmp_path):
    save(store, "fit", b"x")
    store.save(Key.of("card", "Sweep", "fit", *_REST), Payload(files={"c": b"x" * 5000}))
    assert sizes(store, tmp_path)["cards"]["in all"] == "5.0 kB"
    assert seen(store, tmp_path).figures["Stored"] == readable(5000)


def test_bytes_that_another_entry_brought_are_stored_when_that_is_gone(store, tmp_path):
    save(store, "fit", b"x" * 5000)
    save(store, "load", b"x" * 5000)
    store.forget(Key.of("memo", "Sweep", "fit", *_REST))
    assert seen(store, tmp_path).figures["Stored"] == "5.0 kB"


def test_what_was_saved_before_the_days_drawn_is_told(store, tmp_path):
    ran(store, ("fit", True, 100, 300), ("fit", True, 2, 0))
    notes = seen(store, tmp_path).notes
    assert any("The last 60 days; 100 s more since " in note for note in notes)


def test_steps_whose_names_look_the_same_have_each_a_bar(store, tmp_path):
    flow = "Long" * 40
    outcomes = [(flow, "1", step, step, True, 1.0, NOON) for step in ("one", "two")]
    store.index.record_outcomes(outcomes)
    steps = seen(store, tmp_path).table("Hit rate by step")
    assert [name[-4:] for name, *_ in steps.rows] == ["/one", "/two"]
    assert steps.bars == [{"hit": 100.0, "miss": 0.0}] * 2


def steps_of(store: Store, tmp_path: Path) -> list[dict[str, str]]:
    return seen(store, tmp_path).table("Hit rate by step").dicts()


def test_only_a_step_that_always_hit_has_all(store, tmp_path):
    ran(store, *[("fit", i > 0, 0, 0) for i in range(1000)])
    assert steps_of(store, tmp_path)[0]["rate"] == "> 99%"


def test_times_are_utc_wherever_it_is_written(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        ran(store, ("fit", True, 1, 0))
        steps = steps_of(store, tmp_path)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert steps[0]["last"].endswith(" 12:00")


def test_hit_rates_are_of_each_step(store, tmp_path):
    ran(
        store, ("fit", True, 1, 0), ("fit", True, 1, 0), ("fit", False, 0, 0), ("load", False, 0, 0)
    )
    columns = ("step", "hits", "misses", "rate")
    assert [[row[name] for name in columns] for row in steps_of(store, tmp_path)] == [
        ["Sweep/fit", "2", "1", "67%"],
        ["Sweep/load", "0", "1", "0%"],
    ]


def test_what_was_used_last_is_hottest(store, tmp_path, monkeypatch):
    for number in range(12):
        save(store, f"step{number:02d}", b"x" * 2000)
    store.index._clock = lambda: NOON + 10 * DAY  # type: ignore[method-assign]
    store.touch(store.find(Key.of("memo", "Sweep", "step05", *_REST)))
    page = seen(store, tmp_path)
    assert page.table("Hottest entries").dicts()[0]["step"] == "Sweep/step05"
    assert "Sweep/step05" not in [row["step"] for row in page.table("Coldest entries").dicts()]


def test_misses_are_counted_by_reason_the_costliest_first(store, tmp_path):
    missed(
        store,
        ("fit", "new_input", 30, 0),
        ("fit", "new_input", 20, 0),
        ("load", "new_input", 10, 0),
        ("load", "code_changed", 180, 0),
        ("load", "a_reason_to_come", 1, 0),
    )
    page = seen(store, tmp_path)
    reasons = page.table("Misses by reason")
    assert [(row["reason"], row["misses"], row["run time"]) for row in reasons.dicts()] == [
        ("the code changed", "1", "3 min"),
        ("new inputs", "3", "60 s"),
        ("a reason to come", "1", "1.0 s"),
    ]
    assert [row["most of it"] for row in reasons.dicts()][1] == "Sweep/fit, 50 s"
    assert reasons.bars[0]["miss"] == pytest.approx(100 * 180 / 241, abs=0.1)
    assert page.figures["Misses ran"] == "4 min"


def test_misses_of_which_no_reason_was_kept_are_counted(store, tmp_path):
    ran(store, ("fit", False, 0, 0))
    (row,) = seen(store, tmp_path).table("Misses by reason").dicts()
    assert (row["reason"], row["misses"]) == ("no reason noted", "1")


def aged(store: Store, *saves: tuple[str, int, float]) -> None:
    """Save bytes: a step, a size and how many days ago."""
    for step, size_bytes, ago in saves:
        save(store, step, step.encode() * (size_bytes // len(step)))
        (found,) = [each for each in store.index.entries().values() if step in str(each.ref.key)]
        store.index.record([replace(found.ref, created=NOON - DAY * ago)])


def test_growth_is_told_by_day(store, tmp_path):
    aged(store, ("aa", 6000, 2), ("bb", 2000, 0))
    page = seen(store, tmp_path)
    rows = page.table("Growth").dicts()[::-1]
    assert [(row["new"], row["saves"], row["in all"]) for row in rows] == [
        ("0 B", "0", "0 B"),
        ("0 B", "0", "0 B"),
        ("6.0 kB", "1", "6.0 kB"),
        ("0 B", "0", "6.0 kB"),
        ("2.0 kB", "1", "8.0 kB"),
    ]
    chart = page.charts[-1]
    assert chart.heights("new") == [150, 200]
    assert chart.heights("whole") == [150, 150]


def test_the_growth_of_an_old_store_is_told_by_week_with_all_that_was_before(store, tmp_path):
    aged(store, ("aa", 6000, 700), ("bb", 1000, 100), ("cc", 2000, 0))
    rows = seen(store, tmp_path).table("Growth").dicts()[::-1]
    assert len(rows) == 60
    assert rows[0]["in all"] == "6.0 kB"
    assert [row["new"] for row in rows if row["saves"] != "0"] == ["1.0 kB", "2.0 kB"]
    assert rows[-1]["in all"] == "9.0 kB"
    assert all(date.fromisoformat(row["week from"]).weekday() == 0 for row in rows)


def test_saves_by_a_wrong_clock_count_today(store, tmp_path):
    aged(store, ("aa", 6000, -900), ("bb", 2000, 0))
    assert seen(store, tmp_path).table("Growth").dicts()[0]["new"] == "8.0 kB"


def expiring(store: Store, *saves: tuple[str, float]) -> None:
    for number, (step, days) in enumerate(saves):
        key = Key.of("memo", "Sweep", step, *_REST[:-1], f"{number:08d}")
        payload = Payload(files={"x": f"{number}".encode() * 1000})
        store.save(key, payload, durable=False, expires=NOON + DAY * days)


def test_what_expires_is_told_by_step_the_largest_first(store, tmp_path):
    expiring(store, ("fit", 3), ("fit", 20), ("load", 25), ("load", 29), ("load", 29), ("old", 90))
    store.save(Key.of("model", "Sweep", "fit", "0a"), Payload(files={"x": b"y"}))
    rows = seen(store, tmp_path).table("What expires").dicts()
    assert [list(row.values()) for row in rows] == [
        ["Sweep/load", "memo", "", "3, 3.0 kB"],
        ["Sweep/fit", "memo", "1, 1.0 kB", "2, 2.0 kB"],
    ]


def test_what_has_expired_is_told_until_it_is_removed(store, tmp_path):
    expiring(store, ("fit", -1))
    (row,) = seen(store, tmp_path).table("What expires").dicts()
    assert row["expired"] == "1, 1.0 kB"


def test_where_nothing_expires_the_page_says_so(store, tmp_path):
    save(store, "fit", b"x")
    assert "No entry expires within 30 days." in seen(store, tmp_path).notes


def test_of_a_time_only_what_was_within_it_counts(store, tmp_path):
    ran(store, ("fit", True, 60, 9), ("fit", True, 30, 2))
    missed(store, ("fit", "new_input", 30, 9), ("fit", "code_changed", 20, 2))
    aged(store, ("aa", 6000, 20), ("bb", 2000, 0))
    figures = collect(store, now=datetime.now(timezone.utc), since=timedelta(days=7))
    page = Reader(report_page.page(figures))
    assert (page.figures["Time saved"], page.figures["Misses ran"]) == ("30 s", "20 s")
    assert [row["hits"] for row in page.table("Hit rate by step").dicts()] == ["1"]
    assert [row["in all"] for row in page.table("Growth").dicts()][-1] == "6.0 kB"
    assert len(page.table("Growth").rows) <= 9
    assert "since" in page.facts


def test_there_is_one_heading_of_the_first_level(store, tmp_path):
    assert len(re.findall("<h1", written(store, tmp_path))) == 1


def test_hostile_names_are_text(store, tmp_path):
    save(store, "fit", b"x" * 2000, flow=HOSTILE)
    store.index.record_outcomes([(HOSTILE, "1", HOSTILE, "1", True, 1.0, NOON)])
    html = written(store, tmp_path)
    assert "<script>alert" not in html
    assert Reader(html).scripts == []


def test_nothing_is_fetched(store, tmp_path):
    html = written(store, tmp_path)
    assert not re.search(r"@import|fonts\.googleapis|<link[^>]*href=.http|<script[^>]*src=", html)


def test_a_place_that_cannot_be_written_is_named(store, tmp_path):
    with pytest.raises(UsageError, match=r"cannot write the report to .*/none/r\.html: No such"):
        write_report(store, tmp_path / "none" / "r.html")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_draws_each_chart_without_an_error(store, tmp_path, width, dark):
    save(store, "fit", b"x" * 2000, flow=HOSTILE)
    ran(store, ("fit", True, 1, 0), (HOSTILE, False, 0, 9))
    written(store, tmp_path)
    shown = look(tmp_path / "report.html", tmp_path / "profile", width=width, dark=dark)
    assert shown.errors == []
    assert (shown.width, shown.is_dark, shown.cut) == (width, dark, [])
    assert len(shown.charts) == 2
    assert all(wide > 200 and high > 40 for wide, high in shown.charts)
    assert len(shown.bars) >= 3
    assert all(wide >= 90 and high > 10 for wide, high in shown.bars)


def test_a_browser_shows_an_empty_store_without_an_error(store, tmp_path):
    written(store, tmp_path)
    shown = look(tmp_path / "report.html", tmp_path / "profile")
    assert shown.errors == []
    assert "The store is empty." in shown.text


def test_the_report_of_a_large_store_is_small(store, tmp_path):
    for number in range(300):
        key = Key.of("memo", f"Flow{number}", "fit", *_REST)
        store.save(key, Payload(files={"x": b"x"}), durable=False)
    ran(store, *[(f"step{i % 500}", i % 3 > 0, 1, i % 90) for i in range(5000)])
    assert len(written(store, tmp_path).encode()) < 40_000
