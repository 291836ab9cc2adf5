"""ls, stats and reindex: the store as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memoflow.backends import Memory
from memoflow.names import Key
from memoflow.store import Payload, open_store
from tests.cli.conftest import Shelf, ask
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
    head = ["ID", "KIND", "STEP", "SIZE", "CREATED", "USED", "EXPIRES", "KEY"]
    assert lines[0].split("\t") == head
    assert {len(line.split("\t")) for line in lines} == {len(head)}
    assert [line.split("\t")[-1] for line in lines[1:]] == sorted(map(str, _saved(shelf)))
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
