"""A memoized step never hits with the results of another commit, repository or pattern."""

from __future__ import annotations

from tests.hubs import Hub
from tests.stories.world import notes, once

FLOW = """
    from pathlib import Path
    from metaflow import FlowSpec, current, huggingface_hub, memoize, step
    from notes import note

    def text_in(folder):
        return Path(folder, "notes.txt").read_text()

    class Memo(FlowSpec):
        @memoize
        @huggingface_hub(load=["org/name"])
        @step
        def start(self):
            self.loaded = text_in(current.huggingface_hub.loaded["org/name"])
            self.next(self.body)

        @memoize
        @huggingface_hub
        @step
        def body(self):
            self.reference = current.huggingface_hub.snapshot_download(repo_id="org/name")
            with current.huggingface_hub.load("org/name", revision="v1") as folder:
                self.tagged = text_in(folder)
            self.next(self.listed)

        @memoize(inputs=[])
        @huggingface_hub(load=[{"repo_id": "org/name", "allow_patterns": "*.txt"}])
        @step
        def listed(self):
            self.listed_text = text_in(current.huggingface_hub.loaded["org/name"])
            self.next(self.pinned)

        @memoize
        @huggingface_hub(load=[{"repo_id": "org/name", "revision": "COMMIT"}])
        @step
        def pinned(self):
            self.pinned_text = text_in(current.huggingface_hub.loaded["org/name"])
            self.next(self.end)

        @step
        def end(self):
            note(texts=[self.loaded, self.tagged, self.listed_text, self.pinned_text],
                 commit=self.reference["metadata"]["commit"])

    if __name__ == "__main__":
        Memo()
"""

BEFORE = {"notes.txt": b"before", "config.json": b"{}"}
AFTER = {"notes.txt": b"after", "config.json": b"{}"}


@once
def runs(project):
    found = {}

    def run(name):
        hub.forget()
        ran = project.run(**env)
        asked = [one.what for one in hub.requests if one.what != "unknown"]
        found[name] = {"workers": ran.workers, "asked": asked, **notes(project)}

    with Hub() as hub:
        env = hub.env(project.folder / "hf")
        commit = hub.add("org/name", BEFORE)
        hub.add("org/name", BEFORE, revision="v1")
        project.write("flow.py", FLOW.replace("COMMIT", commit))
        run("first")
        run("second")
        moved = hub.add("org/name", AFTER)
        run("moved")
        hub.add("org/name", AFTER, revision="v1")
        hub.add("org/name", BEFORE)
        run("back, with the tag moved")
        project.edit("flow.py", '"*.txt"', '"*.t*"')
        run("edited")
        env |= {"HF_HUB_OFFLINE": "1"}
        run("offline")
    return found | {"commit": commit, "moved to": moved}


def test_the_first_run_runs_all(runs):
    assert runs["first"]["workers"] == ["start", "body", "listed", "pinned", "end"]
    assert runs["first"]["texts"] == ["before"] * 4


def test_while_no_branch_moves_all_of_them_hit(runs):
    assert runs["second"]["workers"] == ["end"]
    assert runs["second"]["asked"] == ["info", "info"]  # for main and v1


def test_a_branch_that_has_moved_is_a_miss_and_a_pinned_commit_is_a_hit(runs):
    assert runs["moved"]["workers"] == ["start", "body", "listed", "end"]
    assert runs["moved"]["texts"] == ["after", "before", "after", "before"]
    assert runs["moved"]["commit"] == runs["moved to"]


def test_a_branch_that_has_moved_back_hits_again(runs):
    again = runs["back, with the tag moved"]
    assert again["workers"] == ["body", "end"]
    assert again["texts"] == ["before", "after", "before", "before"]


def test_other_patterns_are_another_result(runs):
    assert runs["edited"]["workers"] == ["listed", "end"]


def test_offline_results_are_found_by_what_the_branch_last_stood_for(runs):
    assert runs["offline"]["workers"] == ["end"]
    assert runs["offline"]["texts"] == runs["edited"]["texts"]
