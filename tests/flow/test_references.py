"""Claims on both formats of saves: what they share, and what metaflow-checkpoint's refuse."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memoflow.errors import NotFoundError, UsageError
from memoflow.flow import artifact_store, references
from memoflow.flow.artifact_ref import Reference
from memoflow.flow.artifact_store import ArtifactStore
from memoflow.flow.checkpoint import listing
from memoflow.kinds import checkpoint
from memoflow.kinds.about import About
from memoflow.store import Payload
from tests.flow.memo.noted import HIT, clone, noting
from tests.kinds.test_legacy import DATA, FIRST, SCOPE

OLD = ("Old", "start", SCOPE, FIRST["identifier"])
OURS = ("Train", "fit", "s" * 12, "i" * 12)


@pytest.fixture
def where(tmp_path: Path) -> ArtifactStore:
    root = Path(shutil.copytree(DATA, tmp_path / "root"))
    return artifact_store.of_datastore("local", str(root))


@pytest.fixture
def save(where: ArtifactStore, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Save a checkpoint of a task, and return its reference."""

    def saved(text: str = "weights", task: str = "Train/1/fit/2") -> dict[str, Any]:
        tree = tmp_path / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "state").write_text(text)
        one = checkpoint.save(
            where.store,
            checkpoint.series(*OURS),
            Payload(tree=tree),
            About(checkpoint.KIND, task, 0, name="mfchckpt"),
            token=checkpoint.new_token(),
        )
        return references.of_checkpoint(where, one)

    return saved


@pytest.fixture(params=["ours", "metaflow-checkpoint's"])
def found(request: pytest.FixtureRequest, where: ArtifactStore, save: Any) -> dict[str, Any]:
    """A reference of each format."""
    return save() if request.param == "ours" else where.legacy.of_scope(*OLD)[0]


def test_a_reference_is_described_by_its_dict_key_and_object(where, found):
    for reference in (found, found["key"], Reference(found)):
        assert references.describe(where, reference) == found


def test_a_reference_is_loaded_by_its_dict_key_and_object(where, found, tmp_path):
    for place, reference in enumerate((found, found["key"], Reference(found))):
        references.load(where, reference, tmp_path / str(place), writable=True)
        assert [path for path in (tmp_path / str(place)).rglob("*") if path.is_file()]


def test_a_save_that_is_gone_is_not_found(where, found):
    key = found["key"].replace("Train", "Other").replace("Old", "Other")
    with pytest.raises(NotFoundError, match=r"is not in .*; it was deleted or evicted"):
        references.describe(where, key)


def test_a_save_elsewhere_says_where(where, found):
    key = found["key"].replace("Train", "Other").replace("Old", "Other")
    with pytest.raises(NotFoundError, match="it is kept at s3://there/x"):
        references.describe(where, {"key": key, "url": "s3://there/x"})


def test_lists_of_a_task_are_those_of_its_scope(where, found):
    place = OURS if found["key"].startswith("checkpoint/") else OLD
    listed = [
        each["key"]
        for saves in references.sources(where)
        for each in saves.of_scope(*place, task=found["pathspec"])
    ]
    assert found["key"] in listed
    of_task = [
        each["key"]
        for saves in references.sources(where)
        for each in saves.of_task(found["pathspec"])
    ]
    assert of_task == listed


def test_a_clone_lists_what_the_cloned_task_saved(where, save, tmp_path):
    with noting("local", tmp_path / "flows") as noted:
        run = noted.run()
        task = noted.task(run, "fit", clone("1", "2"))
        noted.task(run, "end", HIT)  # By which the Client says that no task of the run is a clone.
        saved = save(task="Train/1/fit/2")
        assert listing.list_of_task(where, task) == [saved]
        assert listing.list_of_task(where, noted.task(run, "fit")) == []


def test_a_scope_lists_all_of_its_tasks_newest_first(where, save):
    saves = [save("a"), save("b", "Train/2/fit/7")]
    assert [source.of_scope(*OURS) for source in references.sources(where)] == [saves[::-1], []]


def test_contents_tell_equal_saves_from_others(where, save):
    first, same, other = save(), save(), save("other")
    assert references.contents(where, first) == references.contents(where, same)
    assert references.contents(where, first) != references.contents(where, other)


def test_contents_of_metaflow_checkpoint_are_not_known(where):
    assert references.contents(where, where.legacy.of_scope(*OLD)[0]) is None


def test_a_deleted_save_is_gone_and_was_there_once(where, save):
    found = save()
    assert references.delete(where, found)
    assert not references.delete(where, found["key"])


def test_saves_of_metaflow_checkpoint_are_not_deleted(where):
    with pytest.raises(UsageError, match="only reads from"):
        references.delete(where, where.legacy.of_scope(*OLD)[0])


@pytest.mark.parametrize("reference", [3, {"key": 3}, "x", {"a": 1}, None])
def test_other_values_are_no_references(where, reference):
    with pytest.raises(UsageError, match="is no reference to a checkpoint, model or snapshot"):
        references.describe(where, reference)
