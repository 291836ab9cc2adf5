"""A bad day at the Hub: what passes is waited out, and nothing wrong is stored."""

from __future__ import annotations

import os
import signal
import threading
from itertools import product
from types import SimpleNamespace

import pytest

from memoflow.errors import IntegrityError, MemoflowError
from memoflow.flow.hub.client import run_parallel
from memoflow.flow.hub.errors import retry_after_s
from tests.flow.hub.world import FILES, REPO
from tests.waiting import PATIENCE_S


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        *product(("info", "tree", "head", "get"), ("status 503", "status 429")),
        *product(("info", "tree", "get"), ("stall", "truncate", "reset")),
    ],
)
def test_what_passes_is_tried_again(world, hub, what, kind):
    fault = hub.fault(kind, what, "model" if what in ("head", "get") else "")
    assert world.load(world.get()) == FILES
    assert fault.fired == 1


@pytest.mark.parametrize("what", ["info", "tree", "head", "get"])
def test_the_hub_says_how_long_to_wait(world, hub, slept, what):
    # After the first answer to HEAD huggingface_hub asks once more at once.
    path, times = ("model", 2) if what == "head" else ("", 1)
    hub.fault("status 429", what, path, retry_after=7, times=times)
    assert world.load(world.get()) == FILES
    assert any(7 <= nap < 9 for nap in slept)


def test_each_wait_is_longer_than_the_one_before(world, hub, slept):
    hub.fault("status 503", "info", times=4)
    world.get()
    waits = [nap for nap in slept if nap >= 0.4]
    assert len(waits) == 4
    assert waits[-1] > 2 * waits[0]


def test_files_that_came_before_a_failure_do_not_come_again(world, hub):
    hub.fault("status 404", "get", "model")
    with pytest.raises(MemoflowError):
        world.get(max_workers=1)
    before = hub.count("get", "config.json")
    assert world.load(world.get()) == FILES
    assert hub.count("get", "config.json") == before == 1


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_a_wrong_file_is_fetched_again(world, hub, path):
    hub.fault("flip", "get", path)
    assert world.load(world.get()) == FILES
    assert hub.count("get", path) == 2


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_a_file_that_stays_wrong_is_an_error_and_is_not_stored(world, hub, path):
    hub.fault("flip", "get", path, times=9)
    before = world.stored()
    with pytest.raises(IntegrityError) as error:
        world.get()
    for part in (path, REPO, "should be", "what came was"):
        assert part in str(error.value)
    assert hub.count("get", path) == 2
    assert world.stored() == before


def test_a_wrong_file_in_the_cache_is_not_taken_from_there(world, hub):
    hub.fault("flip", "get", "model", times=2)
    with pytest.raises(IntegrityError):
        world.get()
    assert world.load(world.get()) == FILES


@pytest.mark.parametrize("what", ["head", "tree"])
def test_a_wrong_size_is_an_error_and_is_not_stored(world, hub, what):
    hub.fault("size", what, "model" if what == "head" else "", times=9)
    before = world.stored()
    with pytest.raises(IntegrityError, match=r"model\.safetensors|config\.json|notes\.txt"):
        world.get()
    assert world.stored() == before


def test_a_path_that_leaves_the_directory_is_an_error_before_anything_is_fetched(world, hub):
    hub.fault("path", "tree")
    with pytest.raises(IntegrityError, match=r"\.\./x"):
        world.get()
    assert hub.count("get") == 0
    assert not (world.folder / "x").exists()


def test_a_hub_that_fails_and_fails_is_an_error_that_ends(world, hub):
    hub.fault("status 503", "get", "model", times=99)
    before = world.stored()
    with pytest.raises(MemoflowError, match="answered 503"):
        world.get()
    assert world.stored() == before


def test_a_tree_of_many_pages_is_read_to_its_end(world, hub):
    hub.page = 2
    many = {f"{number:03d}.txt": b"%d" % number for number in range(7)}
    hub.add("org/many", many)
    assert world.load(world.get("org/many")) == many


# It is asked what the branch is, and then whether that may be downloaded.
ASKED = {"info": 2, "tree": 1, "head": 1}


@pytest.mark.parametrize("what", ASKED)
def test_an_answer_is_waited_for_as_long_as_etag_timeout_says(world, hub, what):
    hub.add("org/one", {"config.json": b"{}"})
    late = hub.fault("late", what, "org/one", then=lambda: hub.closing.wait(1))
    assert world.load(world.get("org/one", etag_timeout=PATIENCE_S)) == {"config.json": b"{}"}
    assert late.fired == 1
    assert hub.count(what, "org/one") == ASKED[what]


@pytest.mark.parametrize("what", ASKED)
def test_an_answer_that_is_later_than_etag_timeout_is_asked_for_again(world, hub, what):
    hub.add("org/one", {"config.json": b"{}"})
    late = hub.fault("late", what, "org/one", then=lambda: hub.closing.wait(PATIENCE_S))
    assert world.load(world.get("org/one", etag_timeout=2)) == {"config.json": b"{}"}
    assert late.fired == 1
    assert hub.count(what, "org/one") > ASKED[what]


NOON = "Sat, 21 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Sat, 21 Nov 2026 12:02:00 GMT", "Date": NOON}, 121),
        ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": NOON}, 0),
        ({"Retry-After": "soon"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 56),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({"RateLimit": '"api"; r=0; t=55', "Retry-After": "9"}, 9),
        ({}, None),
    ],
)
def test_a_wait_that_is_asked_for_is_understood_in_any_form(headers, told):
    assert retry_after_s(SimpleNamespace(status_code=429, headers=headers)) == told


@pytest.mark.parametrize("what", ["info", "tree"])
@pytest.mark.parametrize(
    ("header", "least"),
    [({"retry_after": 400}, 400), ({"ratelimit": '"api";r=0;t=55'}, 55)],
)
def test_it_is_waited_for_as_long_as_the_hub_asks(world, hub, slept, what, header, least):
    hub.fault("status 429", what, **header)
    assert world.load(world.get()) == FILES
    assert least <= max(slept) <= least + 2


def test_a_wait_that_is_too_long_is_an_error_that_says_how_long(world, hub, slept):
    hub.fault("status 429", "info", retry_after=7300)
    with pytest.raises(MemoflowError, match=r"429 and asks to be left alone for 2\.0 h"):
        world.get()
    assert max(slept, default=0) < 60


@pytest.mark.parametrize("what", ["info", "tree", "head", "get"])
def test_any_error_of_the_hubs_own_is_tried_again(world, hub, what):
    fault = hub.fault("status 520", what, "model" if what in ("head", "get") else "")
    assert world.load(world.get()) == FILES
    assert fault.fired == 1


def test_a_file_that_is_wrong_for_good_is_not_an_error_later_than_that_is_known(world, hub):
    hub.add("org/two", {"a.txt": b"wrong for good", "slow.npz": b"slow" * 5000})
    ended = threading.Event()

    def late() -> None:
        hub.closing.wait(PATIENCE_S)
        ended.set()

    hub.fault("late", "get", "slow", then=late)
    hub.fault("flip", "get", "a.txt", times=9)
    with pytest.raises(IntegrityError):
        world.get("org/two")
    assert not ended.is_set()


def test_a_signal_ends_a_download_though_others_are_in_the_middle():
    go, stopped = threading.Event(), threading.Event()
    jobs = [lambda: os.kill(os.getpid(), signal.SIGINT), lambda: go.wait(PATIENCE_S)]
    with pytest.raises(KeyboardInterrupt):
        run_parallel(jobs, at_most=2, stopped=stopped)
    assert stopped.is_set()
    assert not go.is_set()
    go.set()


def test_what_is_done_together_is_returned_in_order():
    jobs = [lambda number=number: number for number in range(20)]
    assert run_parallel(jobs, at_most=3, stopped=threading.Event()) == list(range(20))


def test_a_renamed_repository_is_found_by_its_old_name(world, hub):
    hub.renamed["org/old"] = REPO
    assert world.load(world.get("org/old")) == FILES


def test_a_short_commit_is_looked_up(world, hub):
    commit = hub.repos["model", REPO].revisions["main"]
    hub.repos["model", REPO].revisions[commit[:7]] = commit
    assert world.get(revision=commit[:7]).about.commit == commit
