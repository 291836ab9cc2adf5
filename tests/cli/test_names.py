"""Names that people type for entries."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shelf


@pytest.mark.parametrize("cut", [4, 8, 64])
def test_the_beginning_of_an_id_stands_for_its_entry(shelf: Shelf, cut: int):
    for each in shelf.store.index.entries().values():
        if each.ref.key.kind == "model":
            name = each.ref.digest.hex[:cut]
            assert shelf.json("show", name)["key"] == str(each.ref.key)


def test_a_whole_key_stands_for_its_entry(shelf: Shelf):
    for key in [*shelf.keys("memo"), *shelf.keys("hub")]:
        assert shelf.json("show", key)["key"] == key


def test_the_unique_beginning_of_a_key_stands_for_its_entry(shelf: Shelf):
    assert shelf.json("show", "mod")["kind"] == "model"


@pytest.mark.parametrize("name", ["9f2c", "fit/9f2c", "Train/fit/9f2c", "/9f2c/"])
def test_parts_of_a_key_that_follow_each_other_stand_for_its_entry(shelf: Shelf, name: str):
    assert shelf.json("show", name)["kind"] == "model"


def test_flow_and_step_stand_for_what_is_of_them(shelf: Shelf):
    found = shelf.json("ls", "Train/fit")["entries"]
    assert [each["kind"] for each in found] == ["checkpoint", "checkpoint", "model"]


def test_half_a_part_in_the_middle_stands_for_nothing(shelf: Shelf):
    done = shelf.run("show", "rain/fit/9f2c")
    assert done.exit_code == 1
    assert "'rain/fit/9f2c'" in done.output


def test_a_name_for_several_lists_them_and_is_not_understood(shelf: Shelf):
    done = shelf.run("show", "Sweep/fit")
    assert done.exit_code == 2
    assert "matches 2 entries" in done.output
    for each in shelf.json("ls", "--kind", "memo")["entries"]:
        assert f"{each['id']}  Sweep/fit  {each['name']}" in done.output


def test_of_many_that_a_name_stands_for_some_are_listed(empty: Shelf):
    for number in range(25):
        empty.record(number)
    done = empty.run("show", "Sweep")
    assert done.output.count("Sweep/fit  x=") == 20
    assert "and 5 more" in done.output


def test_what_the_ids_in_ls_are_names_it_understands(empty: Shelf):
    for number in range(40):
        empty.record(number)
    listed = empty.json("ls")["entries"]
    assert len({each["id"] for each in listed}) == 40
    for each in listed[:5]:
        assert empty.json("show", each["id"])["key"] == each["key"]


def test_what_only_helps_to_find_results_has_no_name(shelf: Shelf):
    (reads,) = [key for key in map(str, shelf.store.keys()) if "/reads/" in key]
    assert shelf.run("show", reads).exit_code == 1


def test_a_name_that_is_no_text_in_this_encoding_is_not_found(shelf: Shelf):
    done = shelf.run("show", "\udcc3\udcbc")
    assert done.exit_code == 1
    assert "no entry named '\\udcc3\\udcbc'" in done.stderr


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("Sweep/1", ["Sweep/1"] * 2),
        ("Sweep/1/fit", ["Sweep/1"] * 2),
        ("Sweep/1/fit/2", ["Sweep/1"]),
        ("Train/1/fit/3", ["Train/1"] * 3),
        ("*/fit", ["Sweep/1"] * 2 + ["Train/1"] * 3),
        ("checkpoint/Train/*", ["Train/1"] * 2),
        ("Sw*", ["Sweep/1"] * 2),
        ("x=2", ["Sweep/1"]),
        ("Sweep/fit x=2", ["Sweep/1"]),
        ("Sweep/f", ["Sweep/1"] * 2),
    ],
)
def test_a_run_a_task_a_pattern_and_a_name_in_a_list_stand_for_entries(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, name: str, runs: list[str]
):
    monkeypatch.setenv("METAFLOW_DATASTORE_SYSROOT_LOCAL", str(shelf.folder))
    monkeypatch.setenv("METAFLOW_USER", "somebody")
    found = shelf.json("ls", name)["entries"]
    assert sorted(each["run"] for each in found) == sorted(runs)


@pytest.mark.parametrize("verb", ["ls", "show", "get"])
@pytest.mark.parametrize(
    ("name", "meant"), [("Sweap/fit", "Sweep/fit"), ("sweep", "Sweep"), ("Fit", "Sweep/fit")]
)
def test_a_name_that_matches_nothing_is_an_error_that_suggests(
    shelf: Shelf, verb: str, name: str, meant: str
):
    done = shelf.run(verb, name)
    assert done.exit_code == 1
    assert f"did you mean {meant}" in done.stderr


def test_every_name_that_ls_shows_is_one_that_it_understands(shelf: Shelf):
    for each in shelf.json("ls")["entries"]:
        for name in (each["id"], each["key"], each["run"], each["name"]):
            keys = [found["key"] for found in shelf.json("ls", name)["entries"]]
            assert each["key"] in keys
