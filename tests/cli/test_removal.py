"""forget and gc: what goes, and what does not."""

from __future__ import annotations

import time

import pytest

from memoflow.names import Key
from memoflow.store import Payload
from tests.cli.conftest import Shelf


def test_what_is_forgotten_is_gone_and_named(shelf: Shelf):
    one, two = shelf.keys("memo")
    done = shelf.run("forget", one, "--yes")
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
    assert len(shelf.json("forget", "Sweep", "--all", "--yes")["forgotten"]) == 2
    assert shelf.keys("memo") == []


def test_what_two_names_stand_for_goes_once(shelf: Shelf):
    one, _ = shelf.keys("memo")
    assert len(shelf.json("forget", one, one, "--yes")["forgotten"]) == 1


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_the_newest_checkpoint_of_a_task_stays_unless_forced(shelf: Shelf, dry: tuple[str, ...]):
    old, newest = shelf.keys("checkpoint")
    done = shelf.run("forget", old, newest, *dry)
    assert done.exit_code == 1
    assert newest in done.output
    assert shelf.keys("checkpoint") == [old, newest]  # Nor does any of the others go.


def test_an_older_checkpoint_can_be_forgotten(shelf: Shelf):
    old, newest = shelf.keys("checkpoint")
    assert shelf.run("forget", old, "--yes").exit_code == 0
    assert shelf.keys("checkpoint") == [newest]


def test_what_a_result_refers_to_stays_unless_forced(empty: Shelf):
    key = empty.model({"a.txt": "A"})
    empty.record(1, refers_to=(key,))
    assert empty.run("forget", key).exit_code == 1
    assert empty.keys("model") == [key]
    assert empty.run("forget", key, "--force", "--yes").exit_code == 0
    assert empty.keys("model") == []


def test_a_model_that_nothing_refers_to_can_be_forgotten(shelf: Shelf):
    assert shelf.run("forget", "model/Train", "--yes").exit_code == 0
    assert shelf.keys("model") == []


def test_an_unknown_name_forgets_nothing_of_the_others(shelf: Shelf):
    one, two = shelf.keys("memo")
    assert shelf.run("forget", one, "nothing").exit_code == 1
    assert shelf.keys("memo") == [one, two]


def test_gc_frees_what_was_forgotten(shelf: Shelf):
    shelf.run("forget", "model/Train", "--yes")
    before = shelf.json("stats")["stored_bytes"]
    data = shelf.json("gc")
    assert (data["entries"], data["keys"]) == (0, [])
    assert data["freed_bytes"] >= 2000
    assert shelf.json("stats")["stored_bytes"] == before - data["freed_bytes"]


def test_gc_names_what_a_budget_evicts(shelf: Shelf):
    planned = shelf.json("gc", "--max-size", "0B", "--dry-run")
    assert planned["dry_run"] is True
    assert len(shelf.keys("memo")) == 2
    done = shelf.json("gc", "--max-size", "0B", "--yes")
    assert set(planned["keys"]) == set(done["keys"])
    assert shelf.keys("memo") == []


@pytest.mark.parametrize("rule", [("--max-size", "1B"), ("--older-than", "1s")], ids=" ".join)
def test_a_rule_takes_what_can_be_had_again_and_nothing_else(shelf: Shelf, rule: tuple[str, str]):
    time.sleep(1.1)
    done = shelf.json("gc", *rule, "--yes")
    assert {each["kind"] for each in done["evicted"]} == {"memo", "hub"}
    assert len(shelf.keys("checkpoint")) == 2
    assert len(shelf.keys("model")) == 1


@pytest.mark.parametrize(("kind", "left"), [("checkpoint", 1), ("model", 0)])
def test_a_rule_takes_what_is_named_and_no_other(shelf: Shelf, kind: str, left: int):
    shelf.json("gc", "--max-size", "1B", "--kind", kind, "--yes")
    there = {each: len(shelf.keys(each)) for each in ("memo", "hub", "checkpoint", "model")}
    assert there == {"memo": 2, "hub": 1, "checkpoint": 2, "model": 1} | {kind: left}


def test_what_a_result_refers_to_stays_though_it_is_named(empty: Shelf):
    key = empty.model({"a.txt": "A"})
    empty.record(1, refers_to=(key,))
    empty.json("gc", "--max-size", "1B", "--kind", "model", "--yes")
    assert empty.keys("model") == [key]


def test_what_a_result_referred_to_goes_with_it_when_both_are_named(empty: Shelf):
    key = empty.model({"a.txt": "A"})
    empty.record(1, refers_to=(key,))
    empty.json("gc", "--max-size", "1B", "--kind", "model", "--kind", "memo", "--yes")
    assert empty.keys("model") == empty.keys("memo") == []


def test_what_a_result_that_goes_referred_to_stays_unless_it_is_named(empty: Shelf):
    key = empty.model({"a.txt": "A"})
    empty.record(1, refers_to=(key,))
    empty.json("gc", "--max-size", "1B", "--yes")
    assert (empty.keys("memo"), empty.keys("model")) == ([], [key])


def test_a_budget_that_models_and_checkpoints_exceed_says_so_and_how_to_name_them(shelf: Shelf):
    done = shelf.run("gc", "--max-size", "1B", "--yes")
    (line,) = [line for line in done.stdout.splitlines() if "above its budget" in line]
    assert "checkpoints and models take 3." in line
    assert "--kind checkpoint --kind model" in line


def test_a_budget_that_is_kept_says_nothing_more(shelf: Shelf):
    assert "budget" not in shelf.run("gc", "--max-size", "1GB", "--yes").stdout


def test_a_kind_without_a_rule_is_not_understood(shelf: Shelf):
    assert "--older-than or --max-size" in shelf.refused("gc", "--kind", "model", "--yes")


@pytest.mark.parametrize(
    "words",
    [("gc", "--max-size", "1B"), ("gc", "--older-than", "1s"), ("forget", "model", "--all")],
    ids=" ".join,
)
@pytest.mark.parametrize("json", [(), ("--json",)], ids=["", "json"])
def test_where_nobody_can_be_asked_nothing_goes(
    shelf: Shelf, words: tuple[str, ...], json: tuple[str, ...]
):
    time.sleep(1.1)
    before = shelf.json("ls")["entries"]
    said = shelf.refused(*words, *json)
    assert "nothing was removed" in said
    assert "--yes" in said
    assert [each["key"] for each in shelf.json("ls")["entries"]] == [each["key"] for each in before]


def test_what_has_expired_goes_only_when_that_is_agreed_to(empty: Shelf):
    key = Key.of("model", "F", "s", "1")
    empty.store.save(key, Payload(files={"a": b"A"}), expires=time.time() + 0.01)
    time.sleep(0.1)
    assert "1 entry" in empty.refused("gc")
    (gone,) = empty.json("gc", "--yes")["evicted"]
    assert gone["reason"] == "expired less than a minute ago"


def test_gc_that_only_deletes_bytes_need_not_be_agreed_to(shelf: Shelf):
    shelf.run("forget", "model/Train", "--yes")
    assert "Freed 2.0 kB." in shelf.run("gc").stdout


def test_a_table_by_kind_says_what_goes(shelf: Shelf):
    lines = shelf.run("gc", "--max-size", "1B", "--yes").stdout.splitlines()
    assert [line.split("\t")[:2] for line in lines[:3]] == [
        ["KIND", "ENTRIES"],
        ["memo", "2"],
        ["hub", "1"],
    ]
    assert lines[3].startswith("Freed ")


def test_a_dry_run_says_why_each_goes(shelf: Shelf):
    time.sleep(1.1)
    reasons = {
        each["reason"] for each in shelf.json("gc", "--older-than", "1s", "--dry-run")["evicted"]
    }
    assert reasons == {"unused for less than a minute"}
    (reason,) = {
        each["reason"] for each in shelf.json("gc", "--max-size", "1B", "--dry-run")["evicted"]
    }
    assert reason == f"over the budget; last used {time.strftime('%Y-%m-%d')}"


def test_a_dry_run_of_forget_tells_what_gc_will_free(shelf: Shelf):
    planned = shelf.json("forget", "model", "--all", "--dry-run")["freeable_bytes"]
    assert shelf.json("forget", "model", "--all", "--yes")["freeable_bytes"] is None
    assert shelf.json("gc")["freed_bytes"] == planned


@pytest.mark.parametrize("text", ["50", "0", "1.5"])
def test_a_budget_without_a_unit_takes_nothing(shelf: Shelf, text: str):
    said = shelf.refused("gc", "--max-size", text, "--yes")
    assert f"say {text}B, {text}MB or {text}GB" in " ".join(said.split())
    assert len(shelf.keys("memo")) == 2


@pytest.mark.parametrize("option", ["--older-than", "--max-size"])
def test_a_time_or_size_that_is_none_is_not_understood(shelf: Shelf, option: str):
    done = shelf.run("gc", option, "soon")
    assert done.exit_code == 2
    assert option in done.output
