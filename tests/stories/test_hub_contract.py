"""`@huggingface_hub` is what flows written for metaflow-checkpoint expect, without its bugs.

"Bug 3" in a comment is the third of the list that came with the contract.
"""

from __future__ import annotations

import random

import pytest

from tests.hubs import Hub
from tests.page_reader import Reader
from tests.stories.world import notes, once

LARGE = random.Random(0).randbytes(1_200_000)
FILES = {"config.json": b"{}", "sub/notes.txt": b"first"}
SECOND = {"config.json": b"{}", "sub/notes.txt": b"second"}
TOKEN = "hf_tokenoftheuser"

FLOW = """
    import os
    from pathlib import Path
    from metaflow import FlowSpec, current, huggingface_hub, load_model, model, step
    from notes import attempt, note, tree

    os.makedirs("mine", exist_ok=True)

    class Contract(FlowSpec):
        @huggingface_hub(load=[
            "org/plain",
            ("org/placed", "./placed"),
            {"repo_id": "org/data", "repo_type": "dataset", "allow_patterns": ["*.csv"]},
            ({"repo_id": "org/space", "repo_type": "space"}, "mine"),
            {"repo_id": "org/secret", "token": "TOKEN"},
        ], temp_dir_root="roots/hub")
        @step
        def start(self):
            Path("mine/own.txt").write_text("own")
            loaded = current.huggingface_hub.loaded
            note(iterated=attempt(lambda: sorted(loaded)), length=len(loaded),
                 has=["org/plain" in loaded, "org/other" in loaded],
                 wrong=attempt(loaded.__getitem__, "org/other"),
                 trees={repo: tree(path) for repo, path in loaded.items()},
                 paths=dict(loaded), info=loaded.info["org/plain"],
                 root=str(Path("roots/hub").resolve()),
                 resolved=str(Path(loaded["org/plain"]).resolve()),
                 environment=[name for name, value in os.environ.items() if "TOKEN" in value])
            modes = [path.stat().st_mode & 0o222 for path in Path(loaded["org/plain"]).rglob("*")
                     if path.is_file()]
            note(modes=modes)
            self.paths = dict(loaded)
            self.next(self.references)

        @huggingface_hub
        @model
        @step
        def references(self):
            hub = current.huggingface_hub
            note(left=[os.path.exists(path) for path in self.paths.values()])
            self.plain = hub.snapshot_download(repo_id="org/plain")
            self.old = hub.snapshot_download(repo_id="org/plain", revision="v0")
            self.json = hub.snapshot_download(repo_id="org/plain", allow_patterns="*.json")
            self.rest = hub.snapshot_download(repo_id="org/plain", ignore_patterns="*.json")
            note(plain=self.plain, again=hub.snapshot_download(repo_id="org/plain"),
                 pathspec=current.pathspec)
            note(old=tree(current.model.load(self.old)), json=tree(current.model.load(self.json)),
                 rest=tree(current.model.load(self.rest)))
            load_model(self.plain, "by function")
            load_model(self.plain["key"], "by key")
            note(function=tree("by function"), key=tree("by key"))
            with hub.load("org/plain") as path:
                note(inside=tree(path), kind=type(path).__name__)
            note(removed=not os.path.exists(path))
            with hub.load(repo_id="org/plain", path="mine") as path:
                note(given=path)
            note(merged=tree("mine"))
            with hub.load("org/data", repo_type="dataset", ignore_patterns="*.csv") as path:
                note(data=tree(path))
            hub.snapshot_download(repo_id="org/plain", local_dir="local")
            Path("local/config.json").write_text("mine now")
            with hub.load("org/plain", max_workers=1, etag_timeout=3) as path:
                note(unscribbled=tree(path))
            note(local=tree("local"))
            note(no_repo=attempt(hub.snapshot_download), no_load=attempt(hub.load),
                 unknown=attempt(hub.snapshot_download, repo_id="org/plain", colour="red"),
                 gated=attempt(hub.snapshot_download, repo_id="org/gated"),
                 nothing=attempt(hub.snapshot_download, repo_id="org/unknown"),
                 twice=attempt(hub.load, "org/plain", path="a", local_dir="b"))
            self.next(self.use)

        @model(load=["plain", ("old", "./old")])
        @step
        def use(self):
            note(used=tree(current.model.loaded["plain"]), used_old=tree("old"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Contract()
"""


@once
def seen(project):
    with Hub() as hub:
        hub.add("org/plain", FILES, revision="v0")
        hub.add("org/plain", SECOND | {"model.safetensors": LARGE})
        hub.add("org/placed", {"a": b"placed"})
        hub.add("org/data", {"a.csv": b"1,2", "b.txt": b"no table"}, repo_type="dataset")
        hub.add("org/space", {"app.py": b"print()"}, repo_type="space")
        hub.add("org/secret", {"s": b"secret"}, private=True, tokens=(TOKEN,))
        hub.add("org/gated", {"g": b"gated"}, gated=True, tokens=(TOKEN,))
        project.write("flow.py", FLOW.replace("TOKEN", TOKEN))
        env = hub.env(project.folder / "hf")
        first = project.run(**env)
        gets = [one.path for one in hub.requests if one.what == "get"]
        hub.forget()
        second = project.run(**env)
        later = [one.what for one in hub.requests]
    holds = [
        str(path.relative_to(project.folder))
        for path in project.folder.rglob("*")
        if path.is_file() and TOKEN.encode() in path.read_bytes()
    ]
    logs = [path.read_text() for path in project.folder.rglob("*.log")]
    metadata = project.ask(
        """
        from metaflow.cards import get_cards

        run = Flow("Contract").latest_run
        answer = [
            [card.get() for card in get_cards(run["start"].task)],
            [task.metadata_dict for step in run for task in step],
            Run("Contract/" + run.id)["_parameters"].task["_graph_info"].data,
        ]
        """
    )
    return notes(project) | {
        "text": first.text + second.text + "".join(logs),
        "gets": gets,
        "later": later,
        "holds": holds,
        "metadata": metadata,
        "cards": metadata[0],
        "main": hub.repos["model", "org/plain"].revisions["main"],
    }


PLAIN = {
    "config.json": "{}",
    "sub/notes.txt": "second",
    "model.safetensors": LARGE.decode(errors="replace"),
}


def test_load_takes_its_four_shapes_and_three_types(seen):
    assert seen["trees"]["org/plain"].keys() == PLAIN.keys()
    assert seen["trees"]["org/placed"] == {"a": "placed"}
    assert seen["trees"]["org/data"] == {"a.csv": "1,2"}
    assert seen["trees"]["org/space"]["app.py"] == "print()"
    assert seen["trees"]["org/secret"] == {"s": "secret"}


def test_a_path_is_where_it_was_asked_for(seen):
    assert seen["paths"]["org/placed"] == "./placed"
    assert seen["paths"]["org/space"] == "mine"


def test_without_a_path_it_is_a_directory_below_the_root_that_was_given(seen):
    assert seen["resolved"].startswith(seen["root"])


def test_temporary_directories_go_with_their_task(seen):
    assert seen["left"] == [False, True, False, True, False]


def test_what_is_loaded_is_a_mapping(seen):
    repos = ["org/data", "org/placed", "org/plain", "org/secret", "org/space"]
    assert seen["iterated"] == repos
    assert seen["length"] == 5
    assert seen["has"] == [True, False]
    assert "org/other" in seen["wrong"]


def test_what_is_loaded_is_read_only(seen):
    assert seen["modes"] == [0, 0, 0]


def test_info_has_the_reference(seen):
    assert seen["info"]["metadata"]["commit"] == seen["main"]


KEYS = {
    "size": int,
    "pathspec": str,
    "pathspec_hash": str,
    "attempt": int,
    "key": str,
    "type": str,
    "url": str,
    "name": str,
    "created_on": str,
    "metadata": dict,
    "storage_format": str,
    "creation_context": str,
    "version_id": int,
}


def test_a_reference_is_that_of_a_checkpoint(seen):
    assert {name: type(value) for name, value in seen["plain"].items()} == KEYS
    assert seen["plain"]["type"] == "checkpoint"
    assert seen["plain"]["storage_format"] == "files"
    assert seen["plain"]["pathspec"].split("/")[2] == "references"


def test_a_reference_says_what_it_is_of(seen):
    metadata = seen["plain"]["metadata"]
    assert metadata["repo_id"] == "org/plain"
    assert metadata["repo_type"] == "model"
    assert metadata["registry"] == "huggingface"
    assert (metadata["revision"], metadata["commit"]) == ("main", seen["main"])


def test_the_same_again_is_the_same_reference(seen):
    assert seen["again"] == seen["plain"]


def test_revision_and_patterns_count_in_the_default_scope(seen):  # bug 3
    assert seen["old"] == {"config.json": "{}", "sub/notes.txt": "first"}
    assert seen["json"] == {"config.json": "{}"}
    assert seen["rest"].keys() == PLAIN.keys() - {"config.json"}


@pytest.mark.parametrize("name", ["function", "key", "used", "inside"])
def test_a_reference_loads_wherever_models_do(seen, name):
    assert seen[name].keys() == PLAIN.keys()
    assert seen[name]["sub/notes.txt"] == "second"


def test_a_reference_loads_to_a_path(seen):
    assert seen["used_old"]["sub/notes.txt"] == "first"


def test_the_directory_of_a_block_goes_with_it(seen):
    assert seen["kind"] == "str"
    assert seen["removed"]


def test_a_directory_with_other_files_keeps_them(seen):  # bug 11
    assert seen["given"] == "mine"
    assert seen["merged"]["own.txt"] == "own"
    assert seen["merged"]["app.py"] == "print()"
    assert PLAIN.keys() <= seen["merged"].keys()


def test_other_files_of_a_directory_are_not_stored(seen):  # bug 11
    assert "own.txt" not in seen["inside"]
    assert seen["data"] == {"b.txt": "no table"}


def test_a_local_dir_is_the_callers_to_change(seen):
    assert seen["local"]["config.json"] == "mine now"
    assert seen["unscribbled"]["config.json"] == "{}"


@pytest.mark.parametrize("name", ["no_repo", "no_load"])
def test_a_repository_must_be_named(seen, name):
    assert seen[name].startswith("ValueError")


def test_errors_say_what_is_wrong(seen):
    assert "colour" in seen["unknown"]
    assert "gated" in seen["gated"]
    assert "org/unknown" in seen["nothing"]
    assert "local_dir" in seen["twice"]


def test_each_file_is_downloaded_once_whatever_asks_for_it(seen):
    assert len(seen["gets"]) == len(set(seen["gets"])) + 1  # notes.txt has two versions
    assert seen["gets"].count("org/plain/model.safetensors") == 1


def test_a_second_run_asks_which_commit_and_downloads_nothing(seen):
    assert "get" not in seen["later"]
    assert seen["later"].count("info") <= 9


def test_a_token_is_in_the_users_own_code_and_nowhere_else(seen):  # bugs 10 and 13
    assert seen["holds"] == ["flow.py"]
    assert TOKEN not in seen["text"]
    assert seen["environment"] == []
    assert TOKEN not in str(seen["metadata"])


def test_the_card_of_a_task_shows_what_it_loaded(seen):
    (card,) = seen["cards"]
    assert "org/plain" in [row["name"] for row in Reader(card).table("Loaded").dicts()]
    assert TOKEN not in card


def test_the_metadata_of_a_task_names_what_it_loaded(seen):
    assert seen["info"]["key"] in str(seen["metadata"])
