"""Who is served what another has downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoflow.errors import MemoflowError
from memoflow.flow.artifact_store import ArtifactStore
from memoflow.flow.cards.journal import Journal
from memoflow.flow.hub.current_hub import CurrentHub
from memoflow.flow.task.scratch import Scratch
from tests.flow.hub.world import FILES, LARGE, REPO, SECRET, is_large
from tests.said import kept_in

GLOBAL, OTHER = ("global",), ("flow", "Other")


@pytest.mark.parametrize("kind", ["private", "gated"])
def test_what_not_everybody_may_have_is_served_to_nobody_else(world, hub, kind):
    hub.add("org/kept", FILES, **{kind: True}, tokens=(SECRET,))
    commit = world.get("org/kept", token=SECRET).about.commit
    for options in ({"run": "1"}, {"run": "2"}, {"revision": commit}, {"revalidate": "never"}):
        with pytest.raises(MemoflowError, match="org/kept"):
            world.get("org/kept", user="bob", **options)
    assert world.load(world.get("org/kept", user="bob", token=SECRET)) == FILES
    hub.forget()
    assert world.load(world.get("org/kept")) == FILES
    assert hub.requests == []


def test_a_public_snapshot_is_taken_into_another_scope_without_a_question(world, hub):
    world.get()
    hub.forget()
    taken = world.get(scope=OTHER)
    assert world.load(taken) == FILES
    assert taken.ref.new_bytes == 0
    assert hub.requests == []


def test_other_patterns_of_a_public_snapshot_are_asked_for(world, hub):
    world.get()
    hub.forget()
    taken = world.get(scope=OTHER, allow_patterns="*.json")
    assert world.load(taken).keys() == {"config.json"}
    assert hub.count("tree") == 1


def test_a_public_snapshot_that_was_cut_off_is_not_taken_into_another_scope(world, hub):
    world.get()
    (blob,) = (path for path in (world.folder / "store" / "blobs").rglob("*") if is_large(path))
    blob.unlink()
    blob.write_bytes(LARGE[:-1])
    assert world.load(world.get(scope=OTHER)) == FILES


@pytest.mark.parametrize("kind", ["private", "gated"])
@pytest.mark.parametrize("scope", [GLOBAL, OTHER])
def test_what_not_everybody_may_have_is_asked_for_in_each_scope(world, hub, kind, scope):
    hub.add("org/kept", FILES, **{kind: True}, tokens=(SECRET,))
    commit = world.get("org/kept", token=SECRET, scope=scope).about.commit
    for options in ({"run": "1"}, {"run": "2"}, {"revision": commit}):
        with pytest.raises(MemoflowError, match="org/kept"):
            world.get("org/kept", **options)
    hub.forget()
    assert world.load(world.get("org/kept", token=SECRET)) == FILES
    assert {"tree", "head"} <= {one.what for one in hub.requests}


def test_what_turns_out_damaged_while_it_is_loaded_comes_from_the_hub_again(world, hub):
    hub_of_task = CurrentHub(
        ArtifactStore("local", str(world.folder), str(world.folder / "store")),
        world.snapshots(),
        scratch=Scratch("hf", str(world.folder), 0, str(world.folder / "scratch")),
        say=kept_in(world.said),
        noticed=lambda wanted, commit: None,
        journal=Journal(),
    )
    options = {"endpoint": hub.endpoint, "cache_dir": str(world.folder / "hf")}
    hub_of_task.snapshot_download(REPO, **options)
    (blob,) = (path for path in (world.folder / "store" / "blobs").rglob("*") if is_large(path))
    blob.unlink()
    with hub_of_task.load(REPO, **options) as folder:
        assert Path(folder, "model.safetensors").read_bytes() == LARGE
    assert any("gone from the store" in line for line in world.said), world.said


def test_what_became_private_since_the_branch_was_looked_up_is_kept_for_its_user(world, hub):
    world.get(allow_patterns="*.json")
    repo = hub.repos["model", REPO]
    repo.private, repo.tokens = True, (SECRET,)
    world.get(token=SECRET)
    with pytest.raises(MemoflowError, match=REPO):
        world.get(user="bob")


@pytest.mark.parametrize("kind", ["private", "gated"])
def test_what_was_put_into_the_global_scope_is_served_to_all(world, hub, kind):
    hub.add("org/kept", FILES, **{kind: True}, tokens=(SECRET,))
    world.get("org/kept", token=SECRET, scope=GLOBAL)
    for number, user in enumerate(("bob", "alice"), start=2):
        found = world.get("org/kept", user=user, scope=GLOBAL, run=f"{number}")
        assert world.load(found) == FILES


def test_what_is_in_a_narrower_scope_is_served_to_no_other_by_its_last_commit(world, hub):
    hub.add("org/kept", FILES, private=True, tokens=(SECRET,))
    world.get("org/kept", token=SECRET)
    for user, scope in (("bob", ("flow", "Train")), ("bob", GLOBAL)):
        with pytest.raises(MemoflowError, match="no model org/kept"):
            world.get("org/kept", user=user, scope=scope, run="2")


def test_a_revision_that_was_deleted_is_an_error_in_the_global_scope_as_well(world, hub):
    hub.add(REPO, FILES, revision="v1")
    world.get(scope=GLOBAL, revision="v1")
    del hub.repos["model", REPO].revisions["v1"]
    with pytest.raises(MemoflowError, match="no revision 'v1'"):
        world.get(scope=GLOBAL, revision="v1", run="2")


def test_a_pinned_commit_of_a_public_snapshot_is_taken_without_a_question(world, hub):
    commit = world.get().about.commit
    hub.forget()
    world.get(scope=OTHER, revision=commit)
    assert hub.requests == []
