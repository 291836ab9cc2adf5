"""forget and gc: what goes, and what does not."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shelf


def test_what_is_forgotten_is_gone_and_named(shelf: Shelf):
    one, two = shelf.keys("memo")
    done = shelf.run("forget", one)
    assert done.exit_code == 0
    assert one in done.stdout
    assert shelf.keys("memo") == [two]


def test_a_dry_run_forgets_nothing(shelf: Shelf):
    one, two = shelf.keys("memo")
    data = shelf.json("forget", one, "--dry-run")
    assert data["dry_run"] is True
    assert [each["key"] for each in data["forgotten"]] == [one]
    assert shelf.keys("memo") == [one, two]


def test_several_go_only_if_all_are_meant(shelf: Shelf):
    assert shelf.run("forget", "Sweep").exit_code == 2
    assert len(shelf.keys("memo")) == 2
    assert len(shelf.json("forget", "Sweep", "--all")["forgotten"]) == 2
    assert shelf.keys("memo") == []


def test_what_two_names_stand_for_goes_once(shelf: Shelf):
    one, _ = shelf.keys("memo")
    assert len(shelf.json("forget", one, one)["forgotten"]) == 1


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_the_newest_checkpoint_of_a_task_stays_unless_forced(shelf: Shelf, dry: tuple[str, ...]):
    old, newest = shelf.keys("checkpoint")
    done = shelf.run("forget", old, newest, *dry)
    assert done.exit_code == 1
    assert newest in done.output
    assert shelf.keys("checkpoint") == [old, newest]  # Nor does any of the others go.


def test_an_older_checkpoint_can_be_forgotten(shelf: Shelf):
    old, newest = shelf.keys("checkpoint")
    assert shelf.run("forget", old).exit_code == 0
    assert shelf.keys("checkpoint") == [newest]


def test_what_a_result_refers_to_stays_unless_forced(empty: Shelf):
    key = empty.model({"a.txt": "A"})
    empty.record(1, refers_to=(key,))
    assert empty.run("forget", key).exit_code == 1
    assert empty.keys("model") == [key]
    assert empty.run("forget", key, "--force").exit_code == 0
    assert empty.keys("model") == []


def test_a_model_that_nothing_refers_to_can_be_forgotten(shelf: Shelf):
    assert shelf.run("forget", "model/Train").exit_code == 0
    assert shelf.keys("model") == []


def test_an_unknown_name_forgets_nothing_of_the_others(shelf: Shelf):
    one, two = shelf.keys("memo")
    assert shelf.run("forget", one, "nothing").exit_code == 1
    assert shelf.keys("memo") == [one, two]


def test_gc_frees_what_was_forgotten(shelf: Shelf):
    shelf.run("forget", "model/Train")
    before = shelf.json("stats")["stored_bytes"]
    data = shelf.json("gc")
    assert (data["entries"], data["keys"]) == (0, [])
    assert data["freed_bytes"] >= 2000
    assert shelf.json("stats")["stored_bytes"] == before - data["freed_bytes"]


def test_gc_names_what_a_budget_evicts(shelf: Shelf):
    planned = shelf.json("gc", "--max-size", "0", "--dry-run")
    assert planned["dry_run"] is True
    assert len(shelf.keys("memo")) == 2
    done = shelf.json("gc", "--max-size", "0")
    assert set(planned["keys"]) == set(done["keys"])
    assert shelf.keys("memo") == []
    assert len(shelf.keys("checkpoint")) == 1


@pytest.mark.parametrize("option", ["--older-than", "--max-size"])
def test_a_time_or_size_that_is_none_is_not_understood(shelf: Shelf, option: str):
    done = shelf.run("gc", option, "soon")
    assert done.exit_code == 2
    assert option in done.output
