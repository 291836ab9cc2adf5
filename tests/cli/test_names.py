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
    for key in shelf.keys("memo"):
        assert key in done.output


def test_of_many_that_a_name_stands_for_some_are_listed(empty: Shelf):
    for number in range(25):
        empty.record(number)
    done = empty.run("show", "Sweep")
    assert done.output.count("memo/Sweep") == 20
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
