"""ls, stats and reindex: the store as a whole."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Memory
from memoflow.catalog.labels import labels
from memoflow.catalog.listed import listed
from memoflow.cli import screen
from memoflow.cli.fitting import fitted
from memoflow.names import Key
from memoflow.store import Payload, open_store
from tests.cli.conftest import Shelf, ask
from tests.cli.test_terminal import on_a_terminal
from tests.faults import Faulty


def test_everything_that_people_saved_is_listed_once(shelf: Shelf):
    kinds = [each["kind"] for each in shelf.json("ls")["entries"]]
    assert kinds == ["checkpoint", "checkpoint", "hub", "memo", "memo", "model"]


@pytest.mark.parametrize(("kind", "count"), [("memo", 2), ("checkpoint", 2), ("hub", 1)])
def test_a_kind_can_be_listed_alone(shelf: Shelf, kind: str, count: int):
    assert shelf.json("ls", "--kind", kind)["total"] == count


def test_the_largest_come_first_if_asked_for(shelf: Shelf):
    sizes = [each["size_bytes"] for each in shelf.json("ls", "--sort", "size")["entries"]]
    assert sizes == sorted(sizes, reverse=True)


def test_a_limit_cuts_the_list_and_not_the_total(shelf: Shelf):
    data = shelf.json("ls", "--limit", "2")
    assert (len(data["entries"]), data["total"]) == (2, 6)


def test_where_a_program_reads_columns_are_whole_and_parted_by_tabs(shelf: Shelf):
    lines = shelf.run("ls").stdout.splitlines()
    head = ["ID", "KIND", "STEP", "SIZE", "CREATED", "USED", "EXPIRES", "KEY", "RUN", "NAME"]
    assert lines[0].split("\t") == head
    assert {len(line.split("\t")) for line in lines} == {len(head)}
    assert [line.split("\t")[7] for line in lines[1:]] == sorted(map(str, _saved(shelf)))
    assert "\x1b" not in "".join(lines)


def test_an_empty_store_is_an_empty_list(empty: Shelf):
    assert empty.json("ls") == {"entries": [], "total": 0, "size_bytes": 0}


def test_what_a_hostile_store_names_does_nothing_to_a_terminal(empty: Shelf):
    empty.record(1, flow="\x1b[31mRed\n")
    output = empty.run("ls").stdout
    assert "\x1b" not in output
    assert len(output.splitlines()) == 2


def test_listing_a_store_that_is_known_reads_no_ref(shelf: Shelf, tmp_path: Path):
    backend = Faulty(Memory(), takes_round_trips=True)
    store = open_store(backend, cache_dir=tmp_path / "here")
    far = Shelf(tmp_path, shelf.folder, store)
    for number in range(30):
        far.record(number)
    before = dict(backend.calls)
    done = ask(store, "ls", "--json")
    assert json.loads(done.stdout)["total"] == 30
    asked = {verb: backend.calls[verb] - before.get(verb, 0) for verb in backend.calls}
    assert (asked["list"], asked.get("read", 0)) == (1, 0)


def test_what_another_machine_saved_is_listed(shelf: Shelf, tmp_path: Path):
    backend = Faulty(Memory(), takes_round_trips=True)
    here = open_store(backend, cache_dir=tmp_path / "here")
    there = Shelf(tmp_path, shelf.folder, open_store(backend, cache_dir=tmp_path / "there"))
    there.record(7)
    data = json.loads(ask(here, "ls", "--json").stdout)
    assert [each["flow"] for each in data["entries"]] == ["Sweep"]


def test_stats_add_up_hits_misses_and_the_time_saved(shelf: Shelf):
    shelf.store.index.record_outcomes(
        [
            ("Sweep", "1", "fit", "1", False, 0.0, 1.0),
            ("Sweep", "2", "fit", "1", True, 2.5, 2.0),
            ("Sweep", "3", "fit", "1", True, 2.5, 3.0),
        ]
    )
    data = shelf.json("stats")
    assert (data["hits"], data["misses"], data["saved_s"]) == (2, 1, 5.0)
    assert data["steps"] == [
        {"flow": "Sweep", "step": "fit", "hits": 2, "misses": 1, "saved_s": 5.0}
    ]


def test_stats_count_bytes_by_kind_and_flow(shelf: Shelf):
    data = shelf.json("stats")
    kinds = {each["name"]: each for each in data["kinds"]}
    assert kinds["checkpoint"]["entries"] == 2
    assert kinds["checkpoint"]["size_bytes"] == len("one") + len("two")
    assert {each["name"] for each in data["flows"]} == {"Sweep", "Train", "Get"}


def test_what_is_stored_once_and_loaded_twice_is_deduplicated(empty: Shelf):
    empty.checkpoint("the same " * 1000)
    empty.checkpoint("the same " * 1000)
    data = empty.json("stats")
    assert data["stored_bytes"] < data["size_bytes"] * 0.6
    assert data["deduplication"] == pytest.approx(data["size_bytes"] / data["stored_bytes"])


def test_an_empty_store_has_no_deduplication(empty: Shelf):
    assert empty.json("stats")["deduplication"] is None
    assert empty.run("stats").exit_code == 0


def test_what_was_used_last_is_hottest_and_what_was_not_is_coldest(shelf: Shelf):
    one, two = shelf.keys("memo")
    rows = shelf.store.index
    rows._db.change("UPDATE entries SET used = 1", [()])
    rows._db.change("UPDATE entries SET used = 2 WHERE key = ?", [(one,)])
    data = shelf.json("stats")
    assert data["hottest"][0]["key"] == one
    assert two in [each["key"] for each in data["coldest"]]
    assert data["coldest"][-1]["used"] <= data["hottest"][0]["used"]


def test_reindex_finds_all_that_a_lost_index_knew(shelf: Shelf, tmp_path: Path):
    shelf.store.close()
    for path in (tmp_path / "cache").rglob("*.sqlite*"):
        path.unlink()
    data = shelf.json("reindex")
    assert data["new"] == data["refs"] == len(shelf.store.keys())
    assert shelf.json("reindex")["new"] == 0


def _saved(shelf: Shelf) -> list[str]:
    return [each["key"] for each in shelf.json("ls")["entries"]]


def test_the_figures_of_a_store_that_is_known_take_two_listings(shelf: Shelf, tmp_path: Path):
    backend = Faulty(Memory(), takes_round_trips=True)
    far = Shelf(tmp_path, shelf.folder, open_store(backend, cache_dir=tmp_path / "here"))
    for number in range(30):
        far.record(number)
    before = dict(backend.calls)
    assert json.loads(ask(far.store, "stats", "--json").stdout)["entries"] == 30
    asked = {verb: backend.calls[verb] - before.get(verb, 0) for verb in backend.calls}
    assert (asked["list"], asked.get("read", 0)) == (2, 0)


@pytest.mark.parametrize("parts", [("model", "x"), ("memo", "F", "s", "c", "results")])
def test_a_key_that_no_memoflow_made_is_listed_and_hurts_nothing(
    empty: Shelf, parts: tuple[str, ...]
):
    empty.store.save(Key.of(*parts), Payload(files={"a": b"a"}))
    assert "/".join(parts) in empty.run("ls").stdout
    assert empty.run("stats").exit_code == 0
    assert empty.run("show", "/".join(parts)).exit_code == 3


def test_results_are_named_by_the_inputs_in_which_they_differ(empty: Shelf):
    for lr, seed in itertools.product([0.1, 0.01, 0.001, 0.0001], range(5)):
        empty.record_inputs({"params": {"opt": {"lr": lr}, "seed": seed, "epochs": 10}})
    names = {each["name"] for each in empty.json("ls")["entries"]}
    assert len(names) == 20
    assert "seed=3 lr=0.01" in names


@pytest.mark.parametrize(
    "values",
    [
        [f"s3://bucket/{'long' * 20}/part-{i}.csv" for i in range(20)],
        [f"{'a' * 80}{i:02}{'b' * 80}" for i in range(20)],
        [{f"p{k}": i if k == 7 else k for k in range(12)} for i in range(20)],
        [list(range(i, i + 99)) for i in range(20)],
        [f"\u5b66\u7fd2\u7387{i}\x1b[31m\n" for i in range(20)],
    ],
    ids=["ends", "middles", "one of 12", "lists", "wide"],
)
def test_names_are_told_apart_though_they_are_cut(empty: Shelf, values: list[Any]):
    for value in values:
        empty.record_inputs({"x": value})
    found = listed(empty.store)
    cut = fitted(list(labels(empty.store, found).values()), 30)
    assert len(set(cut)) == 20
    assert max(map(screen.width, cut)) <= 30
    assert all(text.isprintable() for text in cut)


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["kind=memo"], 2),
        (["kind!=memo"], 4),
        (["size>=2kB"], 1),
        (["size<1kB", "flow=Train"], 2),
        (["step=fit", "kind=checkpoint"], 2),
        (["run=Sweep/1"], 2),
        (["x=2"], 1),
        (["x>=1"], 2),
        (["name~BEST"], 1),
        (["created<1h"], 6),
        (["age>1h"], 0),
        (["used>2020-01-31"], 6),
        (["expires=never"], 6),
    ],
)
def test_conditions_choose_entries(shelf: Shelf, conditions: list[str], count: int):
    words = [word for each in conditions for word in ("--filter", each)]
    assert shelf.json("ls", *words)["total"] == count


@pytest.mark.parametrize(
    "words", [("--filter", "nope=1"), ("--filter", "size"), ("--sort", "nope"), ("--since", "x")]
)
def test_a_condition_that_is_none_is_refused(shelf: Shelf, words: tuple[str, ...]):
    said = shelf.refused("ls", *words)
    assert "created" in said or "--since" in said


def test_an_order_has_a_direction(shelf: Shelf):
    up, down = (
        [each["size_bytes"] for each in shelf.json("ls", "--sort", sign + "size")["entries"]]
        for sign in "+-"
    )
    assert up == down[::-1] == sorted(up)


def test_since_leaves_out_what_is_older(shelf: Shelf):
    assert shelf.json("ls", "--since", "1h")["total"] == 6
    assert shelf.json("ls", "--since", "2999-01-31")["total"] == 0


def test_names_of_results_come_from_the_index(shelf: Shelf, tmp_path: Path):
    backend = Faulty(Memory(), takes_round_trips=True)
    far = Shelf(tmp_path, shelf.folder, open_store(backend, cache_dir=tmp_path / "here"))
    far.record(7)
    (found,) = json.loads(ask(far.store, "ls", "--json").stdout)["entries"]
    assert (found["name"], found["run"]) == ("x=7", "Sweep/1")


def test_names_are_read_anew_where_an_index_lacks_them(shelf: Shelf):
    shelf.store.index._db.change("DELETE FROM details", [()])
    names = {each["name"] for each in shelf.json("ls", "--kind", "memo")["entries"]}
    assert names == {"x=1", "x=2"}


def test_a_terminal_shows_a_grid_in_the_order_of_its_values(empty: Shelf):
    for number in (10, 2, 33, 1):
        empty.record(number)
    lines = on_a_terminal(empty, "ls").splitlines()
    assert [found[1] for line in lines if (found := re.search(r"x=(\d+)", line))] == [
        *("1", "2", "10", "33"),
    ]
    assert len(empty.keys("memo")) == 4
