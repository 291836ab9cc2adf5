"""Which commit a branch stands for: who is asked, how often, and what stands if nobody answers."""

from __future__ import annotations

import shutil
import time

import pytest

from memoflow.errors import MemoflowError
from memoflow.kinds import retention
from tests.flow.hub.world import FILES, REPO
from tests.hubs import Hub


def test_a_branch_that_moves_while_it_is_loaded_is_one_commit(world, hub):
    second = {**FILES, "config.json": b"of the next commit"}
    hub.fault("move", "info", then=lambda: hub.add(REPO, second))
    assert world.load(world.get()) == FILES
    assert world.load(world.get()) == FILES
    assert world.load(world.get(run="2")) == second


@pytest.mark.parametrize("pinned", [False, True])
def test_a_second_load_of_a_run_asks_the_hub_nothing(world, hub, pinned):
    options = {"revision": world.get().about.commit} if pinned else {}
    world.get(**options)
    hub.forget()
    world.get(**options, run="2" if pinned else "1")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("revalidate", "asked"), [("run", 1), ("never", 0), ("always", 1), ("7d", 0)]
)
def test_another_run_asks_as_it_was_told_to(world, hub, revalidate, asked):
    world.get(revalidate=revalidate)
    hub.forget()
    world.get(revalidate=revalidate, run="2")
    assert hub.count("info") == asked


def test_after_a_time_the_hub_is_asked_again(world, hub, monkeypatch):
    world.get(revalidate="7d")
    hub.add(REPO, {"new": b"new"})
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6 * 86400)
    assert world.load(world.get(revalidate="7d", run="2")) == FILES
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86400)
    assert world.load(world.get(revalidate="7d", run="3")) == {"new": b"new"}


def test_always_asks_at_each_load(world, hub):
    world.get(revalidate="always")
    hub.add(REPO, {"new": b"new"})
    assert world.load(world.get(revalidate="always")) == {"new": b"new"}


def test_without_a_hub_the_store_serves_what_it_has(world, hub):
    commit = world.get().about.commit
    assert world.load(world.get(local_files_only=True, run="2")) == FILES
    hub.stop()
    assert world.load(world.get(run="3")) == FILES
    assert world.load(world.get(revision=commit)) == FILES


@pytest.mark.parametrize("options", [{}, {"local_files_only": True}])
def test_without_a_hub_an_error_says_what_is_missing_and_what_is_there(world, hub, options):
    commit = world.get(revision="main").about.commit
    world.get(allow_patterns="*.json")
    hub.stop()
    with pytest.raises(MemoflowError) as error:
        world.get(revision="v2", **options)
    told = str(error.value)
    assert "revision v2 of model org/name is not in the store" in told
    assert f"main ({commit})" in told
    assert "allow_patterns=['*.json']" in told


def test_a_branch_is_what_it_is_at_the_hub_that_is_asked(world, hub, tmp_path):
    world.get(revalidate="7d")
    with Hub() as other:
        other.add(REPO, {"other": b"other"})
        options = {"endpoint": other.endpoint, "cache_dir": str(tmp_path / "hf of other")}
        for revalidate in ("7d", "never", "run"):
            found = world.get(revalidate=revalidate, **options)
            assert world.load(found) == {"other": b"other"}
    assert world.load(world.get(revalidate="7d")) == FILES


def test_never_keeps_to_the_first_answer_whatever_others_were_told(world, hub):
    first = world.get(revalidate="never").about.commit
    hub.add(REPO, {"new": b"new"})
    assert world.get(run="2").about.commit != first
    assert world.get(run="3", revalidate="never").about.commit == first


def test_never_does_not_keep_to_what_was_no_answer(world, hub):
    first = world.get().about.commit
    fault = hub.fault("status 503", "info", times=99)
    assert world.get(run="2", revalidate="never").about.commit == first
    fault.times = 0
    second = hub.add(REPO, {"new": b"new"})
    assert world.get(run="3", revalidate="never").about.commit == second


def test_a_run_that_resumes_another_goes_by_its_commit(world, hub):
    first = world.get(run="1").about.commit
    hub.add(REPO, {"new": b"new"})
    assert world.get(run="2", origin="1").about.commit == first
    assert world.get(run="3", origin="2").about.commit == first
    assert world.get(run="4").about.commit != first


def test_always_leaves_its_last_answer(world, hub):
    world.get(revalidate="always")
    second = hub.add(REPO, {"new": b"new"})
    world.get(revalidate="always")
    assert world.get(revalidate="always", local_files_only=True).about.commit == second


@pytest.mark.parametrize("kind", ["status 503", "status 520", "stall", "says"])
def test_a_hub_in_trouble_stops_nobody_who_has_the_files(world, hub, slept, kind):
    world.get()
    slept.clear()
    hub.fault(kind, "info", times=99, text="<html>")
    assert world.load(world.get(run="2")) == FILES
    assert sum(slept) < 10
    assert len([line for line in world.said if "as it was when last asked for" in line]) == 1


def test_a_hub_that_asks_for_a_moment_is_given_it(world, hub):
    world.get()
    hub.add(REPO, {"new": b"new"})
    hub.fault("status 429", "info", retry_after=30)
    assert world.load(world.get(run="2")) == {"new": b"new"}


def test_without_a_hub_a_scope_is_served_the_last_commit_that_it_has(world, hub):
    first = world.get(scope=("flow", "Train")).about.commit
    second = hub.add(REPO, {"new": b"new"})
    elsewhere = {"scope": ("flow", "Other"), "run": "2", "allow_patterns": "*"}
    assert world.get(**elsewhere).about.commit == second
    hub.stop()
    assert world.get(run="3").about.commit == first
    assert world.get(run="3", revalidate="7d").about.commit == first


def test_without_a_hub_what_is_good_still_and_not_there_is_no_hindrance(world, hub):
    first = world.get(revalidate="7d").about.commit
    hub.add(REPO, {"new": b"new"})
    world.get(run="2", scope=("flow", "Other"), allow_patterns="*")
    hub.stop()
    assert world.get(run="3", revalidate="7d").about.commit == first


def test_without_a_hub_an_error_names_the_commit_that_the_run_goes_by(world, hub):
    first = world.get().about.commit
    second = hub.add(REPO, {"new": b"new"})
    world.get(run="2", scope=("flow", "Other"), allow_patterns="*")
    hub.stop()
    with pytest.raises(MemoflowError) as error:
        world.get(run="2")
    told = str(error.value)
    assert f"commit {second}, which this run goes by for revision main" in told
    assert f"main ({first})" in told


def test_what_a_branch_stood_for_long_ago_is_known_while_it_is_there(world, hub, monkeypatch):
    commit = world.get().about.commit
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 200 * 86400)
    retention.tidy(world.store)
    hub.stop()
    assert world.get(run="2").about.commit == commit
    assert world.get(run="3", revalidate="365d").about.commit == commit


def test_what_the_store_has_takes_no_place_for_a_lock(world, hub):
    commit = world.get().about.commit
    locks = world.folder / "hf" / ".locks"
    shutil.rmtree(locks)
    locks.write_text("as unusable as a directory that is read-only")
    assert world.load(world.get(run="2")) == FILES
    assert world.load(world.get(revision=commit)) == FILES
    hub.stop()
    assert world.load(world.get(run="3")) == FILES
