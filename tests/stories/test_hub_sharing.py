"""Who shares what of the Hub: tasks of a run, runs, users and flows; and what is left offline."""

from __future__ import annotations

import random

import pytest

from tests.hubs import Hub
from tests.stories.world import notes, once

WEIGHTS = random.Random(0).randbytes(1_200_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "notes.txt": b"first"}

FOREACH = """
    from metaflow import FlowSpec, current, huggingface_hub, step
    from notes import note

    class Many(FlowSpec):
        @step
        def start(self):
            self.items = list(range(6))
            self.next(self.work, foreach="items")

        @huggingface_hub(load=["org/name"])
        @step
        def work(self):
            reference = current.huggingface_hub.loaded.info["org/name"]
            self.commit = reference["metadata"]["commit"]
            self.key = reference["key"]
            self.next(self.join)

        @step
        def join(self, inputs):
            note(commits=[one.commit for one in inputs], keys=[one.key for one in inputs])
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Many()
"""

SCOPES = """
    import os
    from metaflow import FlowSpec, current, huggingface_hub, step
    from notes import attempt, note, tree

    RUN = os.environ["RUN"]

    class Scopes(FlowSpec):
        @huggingface_hub(load=["org/name", "org/private"])
        @step
        def start(self):
            info = current.huggingface_hub.loaded.info
            note(**{f"{RUN} checkpoint": info["org/name"]["key"],
                    f"{RUN} own": info["org/private"]["key"],
                    f"{RUN} tree": tree(current.huggingface_hub.loaded["org/private"])})
            self.next(self.flow)

        @huggingface_hub(cache_scope="flow")
        @step
        def flow(self):
            hub = current.huggingface_hub
            note(**{f"{RUN} flow": hub.snapshot_download(repo_id="org/name")["key"],
                    f"{RUN} flow private": attempt(hub.snapshot_download, "org/private")})
            self.next(self.end)

        @huggingface_hub(cache_scope="global", revalidate="never")
        @step
        def end(self):
            hub = current.huggingface_hub
            note(**{f"{RUN} global": hub.snapshot_download(repo_id="org/name")["key"],
                    f"{RUN} global private": attempt(hub.snapshot_download, "org/private"),
                    f"{RUN} missing": attempt(hub.snapshot_download, "org/name", revision="v9")})

    if __name__ == "__main__":
        Scopes()
"""

RESUMED = """
    import os
    from metaflow import FlowSpec, current, huggingface_hub, memoize, step
    from notes import note

    class Resumed(FlowSpec):
        @huggingface_hub(load=["org/name"])
        @step
        def start(self):
            info = current.huggingface_hub.loaded.info
            self.commit = info["org/name"]["metadata"]["commit"]
            self.next(self.breaks)

        @step
        def breaks(self):
            assert "MENDED" in os.environ
            self.next(self.end)

        @memoize
        @huggingface_hub(load=["org/name"])
        @step
        def end(self):
            info = current.huggingface_hub.loaded.info
            note(start=self.commit, end=info["org/name"]["metadata"]["commit"])

    if __name__ == "__main__":
        Resumed()
"""

WRONG = """
    from metaflow import FlowSpec, huggingface_hub, step

    class Wrong(FlowSpec):
        @huggingface_hub(%s)
        @step
        def start(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Wrong()
"""

TOKEN = "hf_tokenofalice"


@once
def many(project):
    project.write("flow.py", FOREACH)
    with Hub() as hub:
        first = hub.add("org/name", FILES)
        # Whoever asks after the first would be told another commit.
        moved = hub.fault("move", "info", then=lambda: hub.add("org/name", {"new": b"new"}))
        project.run(**hub.env(project.folder / "hf"))
    return notes(project) | {
        "first": first,
        "moved": moved.fired,
        "asked": [(one.what, one.path) for one in hub.requests if one.what != "unknown"],
    }


@once
def scopes(project):
    project.write("flow.py", SCOPES)
    counts = {}
    with Hub() as hub:
        hub.add("org/name", FILES)
        hub.add("org/private", {"secret": b"of alice"}, private=True, tokens=(TOKEN,))
        for run, user, more in (
            ("alice", "alice", {"HF_TOKEN": TOKEN}),
            # With the login of another who may see it, but not with what alice has stored.
            ("bob", "bob", {"HF_TOKEN": TOKEN}),
            ("offline", "alice", {"HF_HUB_OFFLINE": "1"}),
        ):
            hub.forget()
            env = hub.env(project.folder / f"hf of {run}") | more
            project.run(METAFLOW_USER=user, RUN=run, **env)
            counts[run] = [one.what for one in hub.requests if one.what != "unknown"]
    return notes(project) | {"counts": counts}


@once
def resumed(project):
    project.write("flow.py", RESUMED)
    with Hub() as hub:
        first = hub.add("org/name", FILES)
        env = hub.env(project.folder / "hf")
        project.run(ok=False, **env)
        hub.add("org/name", {"new": b"new"})
        project.run("resume", MENDED="1", **env)
    return notes(project) | {"first": first}


def test_a_run_that_resumes_another_goes_by_its_commits(resumed):
    assert resumed["start"] == resumed["first"]
    assert resumed["end"] == resumed["first"]


def test_tasks_of_a_run_see_one_commit_though_the_branch_moves(many):
    assert many["moved"] == 1
    assert many["commits"] == [many["first"]] * 6


def test_a_cold_foreach_asks_once_and_downloads_once(many):
    asked = [what for what, _ in many["asked"]]
    # Once what the branch is, once whether everybody may have it, once which files there are.
    assert (asked.count("info"), asked.count("tree")) == (2, 1)
    gets = sorted(path for what, path in many["asked"] if what == "get")
    assert gets == sorted(f"org/name/{path}" for path in FILES)


def test_in_the_default_scope_each_item_of_a_foreach_has_its_own(many):
    assert len(set(many["keys"])) == 6


def test_the_default_scope_is_not_shared_with_other_users(scopes):
    assert scopes["alice checkpoint"] != scopes["bob checkpoint"]
    assert scopes["alice checkpoint"].startswith("hub/checkpoint/Scopes/start/")


@pytest.mark.parametrize("scope", ["flow", "global"])
def test_wider_scopes_are_shared_with_other_users(scopes, scope):
    assert scopes[f"alice {scope}"] == scopes[f"bob {scope}"]
    assert scopes[f"alice {scope}"].startswith(f"hub/{scope}/")


def test_what_is_private_is_kept_for_its_user_unless_the_scope_is_global(scopes):
    assert "/user/alice/" in scopes["alice flow private"]["key"]
    assert "/user/bob/" in scopes["bob flow private"]["key"]
    assert "/user/alice/" in scopes["alice own"]
    assert scopes["bob global private"]["key"] == scopes["alice global private"]["key"]


def test_another_user_with_an_empty_cache_downloads_no_file_again(scopes):
    assert "get" not in scopes["counts"]["bob"]
    assert scopes["bob tree"] == {"secret": "of alice"}


def test_offline_the_store_serves_what_it_has(scopes):
    assert scopes["counts"]["offline"] == []
    for scope in ("checkpoint", "own", "flow", "global"):
        assert scopes[f"offline {scope}"] == scopes[f"alice {scope}"]


def test_offline_an_error_says_what_is_missing_and_what_is_there(scopes):
    told = scopes["offline missing"]
    assert "revision v9 of model org/name is not in the store" in told
    assert "main (" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("cache_scope='namespace'", "is one of checkpoint, flow, global, not 'namespace'"),
        ("revalidate='sometimes'", "sometimes"),
        ("load=7", "load=7"),
        ("load=[('a/b',)]", "'repo', path"),
        ("load=[{'repo_type': 'model'}]", "repo_id"),
        ("load=[{'repo_id': 'a/b', 'token': 'hf_seen', 'colour': 1}]", "colour"),
    ],
)
def test_arguments_that_cannot_be_are_an_error_before_anything_runs(project, arguments, told):
    project.write("flow.py", WRONG % arguments)
    ran = project.run(ok=False)
    assert ran.code != 0
    assert told in ran.text
    assert ran.workers == []
    assert "hf_seen" not in ran.text
