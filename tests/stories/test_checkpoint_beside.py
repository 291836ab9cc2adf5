"""Checkpoints beside others: other tasks, flows, stores, threads, children and directories."""

from __future__ import annotations

from typing import Any

from tests.stories.conftest import Project
from tests.stories.world import notes, once

DIRECTORIES = """
    import multiprocessing, os, subprocess, sys
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, model, step
    from notes import attempt, here, note, tree

    CHILD = "from metaflow import Checkpoint; print(Checkpoint().save(__file__)['key'])"

    class Directories(FlowSpec):
        @checkpoint(temp_dir_root="roots", show_card=False)
        @model(temp_dir_root="roots")
        @step
        def start(self):
            c = current.checkpoint
            here(c, state="one")
            one = c.save()
            gone = one["key"][:-1] + ("0" if one["key"][-1] != "0" else "1")
            here(c, state="not saved yet")
            failed = attempt(c.load, gone)
            note(failed=failed, after_failed=tree(c.directory))
            fork = multiprocessing.get_context("fork").Process(target=c.load, args=(one,))
            fork.start()
            fork.join(60)
            note(after_fork=tree(c.directory), fork=fork.exitcode)
            first = current.model.load(one)
            second = current.model.load(one)
            note(both=[tree(first), tree(second)])
            Path("mine").mkdir()
            Path("mine/notes.txt").write_text("mine")
            current.model.load(one, path="mine")
            current.model.loaded.cleanup(one["key"])
            note(left=tree("mine"))
            os.mkdir("private", 0o700)
            c.load(one, path="private")
            note(mode=oct(os.stat("private").st_mode & 0o777))
            os.mkdir("elsewhere")
            script = Path("elsewhere/child.py").absolute()
            script.write_text(CHILD)
            os.chdir("elsewhere")
            done = subprocess.run([sys.executable, script], text=True, capture_output=True)
            here(c, state="after chdir")
            c.save()
            note(listed=[each["key"] for each in c.list()], child=done.stdout.strip(),
                 trouble=done.stderr[-500:])
            note(paths=[attempt(c.save, path) for path in (5, "", "a\\0b", Path("missing"))])
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Directories()
"""


@once
def directories(project: Project) -> dict[str, Any]:
    project.write("flow.py", DIRECTORIES)
    project.run(METAFLOW_MEMOFLOW_ROOT="kept")
    left = sorted(path.name for path in (project.folder / "roots").glob("*"))
    return notes(project) | {"roots": left}


def test_a_failed_load_leaves_what_was_not_saved_yet(directories: dict[str, Any]) -> None:
    assert "CheckpointException" in directories["failed"]
    assert directories["after_failed"] == {"state": "not saved yet"}


def test_a_load_in_a_forked_child_leaves_the_parents_directory(directories: dict[str, Any]) -> None:
    assert directories["fork"] == 0
    assert directories["after_fork"] == {"state": "not saved yet"}


def test_loading_a_model_twice_leaves_the_first(directories: dict[str, Any]) -> None:
    assert directories["both"] == [{"state": "one"}] * 2


def test_cleaning_up_a_model_leaves_files_that_were_there(directories: dict[str, Any]) -> None:
    assert directories["left"] == {"notes.txt": "mine"}


def test_a_private_directory_stays_private(directories: dict[str, Any]) -> None:
    assert directories["mode"] == "0o700"


def test_a_relative_root_holds_wherever_a_child_works(directories: dict[str, Any]) -> None:
    assert directories["child"] in directories["listed"], directories["trouble"]
    assert len(directories["listed"]) == 3


def test_no_directory_is_left_at_the_end(directories: dict[str, Any]) -> None:
    assert directories["roots"] == []


def test_what_is_no_path_is_told(directories: dict[str, Any]) -> None:
    assert all(
        told.startswith(("CheckpointException: ", "CheckpointTypeError: "))
        for told in directories["paths"]
    )


SIBLINGS = """
    from metaflow import FlowSpec, checkpoint, current, retry, step
    from notes import here, note, tree

    class Siblings(FlowSpec):
        @step
        def start(self):
            self.items = ["same", "same"]
            self.next(self.train, foreach="items")

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(keep_last=1, show_card=False)
        @step
        def train(self):
            c = current.checkpoint
            if current.retry_count == 0:
                for number in range(3):
                    here(c, state=f"{self.index} {number}")
                    c.save()
                raise RuntimeError("again")
            note(**{f"resumed {self.index}": tree(c.directory), "id": c.task_identifier})
            note(**{f"kept {self.index}": len(c.list())})
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Siblings()
"""


@once
def siblings(project: Project) -> dict[str, Any]:
    project.write("flow.py", SIBLINGS)
    project.run()
    return notes(project)


def test_siblings_of_one_identity_keep_what_their_retries_need(siblings: dict[str, Any]) -> None:
    assert siblings["resumed 0"] == {"state": "0 2"}
    assert siblings["resumed 1"] == {"state": "1 2"}


def test_each_task_keeps_as_many_as_asked(siblings: dict[str, Any]) -> None:
    assert (siblings["kept 0"], siblings["kept 1"]) == (1, 1)


OUTER = """
    import os, subprocess, sys
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import here, note

    class Outer(FlowSpec):
        @checkpoint(show_card=False)
        @step
        def start(self):
            here(current.checkpoint, state="outer")
            current.checkpoint.save()
            inner = [sys.executable, "inner.py", "--no-pylint", "run"]
            done = subprocess.run(inner, text=True, capture_output=True)
            note(inner=done.stdout[-2000:] + done.stderr[-2000:], code=done.returncode)
            note(outer=len(current.checkpoint.list()))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Outer()
"""

INNER = """
    import subprocess, sys
    from metaflow import FlowSpec, step
    from notes import note

    CHILD = "from metaflow import Checkpoint; Checkpoint().save('notes.py')"

    class Inner(FlowSpec):
        @step
        def start(self):
            done = subprocess.run([sys.executable, "-c", CHILD], text=True, capture_output=True)
            note(grandchild=done.stderr[-500:])
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Inner()
"""


@once
def nested(project: Project) -> dict[str, Any]:
    project.write("outer.py", OUTER)
    project.write("inner.py", INNER)
    project.run(flow="outer.py")
    return notes(project)


def test_a_flow_within_a_task_does_not_save_for_it(nested: dict[str, Any]) -> None:
    assert nested["code"] == 0, nested["inner"]
    assert "a checkpoint is saved for a task" in nested["grandchild"]
    assert nested["outer"] == 1


STORES = """
    import os
    from metaflow import FlowSpec, Parameter, checkpoint, current, memoize, step
    from metaflow import with_artifact_store
    from notes import here

    class Ref:
        def __init__(self, reference):
            self.reference = reference

    @with_artifact_store(type="local", config=lambda: {"root": os.environ["ELSEWHERE"]})
    class Stores(FlowSpec):
        p = Parameter("p", default=1)

        @memoize
        @checkpoint(show_card=False)
        @step
        def start(self):
            here(current.checkpoint, state=f"p = {self.p}")
            found = current.checkpoint.save()
            self.best = {found["key"]: 1.0}
            self.held = Ref(found)
            self.next(self.end)

        @step
        def end(self):
            (self.key,) = self.best

    if __name__ == "__main__":
        Stores()
"""

ASK = """
    import threading
    from pathlib import Path
    from metaflow import artifact_store_from, load_model
    runs = {run.data.key: run for run in Flow("Stores").runs()}
    found = {}

    def load(key, turn):
        with artifact_store_from(run=runs[key]):
            turn.wait(60)
            load_model(key, f"loaded-{runs[key].id}")
            found[key] = Path(f"loaded-{runs[key].id}/state").read_text()
            turn.wait(60)

    turn = threading.Barrier(len(runs))
    threads = [threading.Thread(target=load, args=(key, turn)) for key in runs]
    [thread.start() for thread in threads]
    [thread.join(120) for thread in threads]
    answer = sorted(found.values())
"""


@once
def stores(project: Project) -> dict[str, Any]:
    project.write("flow.py", STORES)
    elsewhere = {name: str(project.folder / name) for name in ("a", "b")}
    project.run("--p=1", ELSEWHERE=elsewhere["a"])
    project.run("--p=2", ELSEWHERE=elsewhere["b"])
    loaded = project.ask(ASK)
    root = str(project.folder / "a" / "memoflow")
    rule = ("--older-than", "1s", "--kind", "checkpoint", "--yes")
    gone = project.python("-m", "memoflow", "--root", root, "gc", *rule)
    again = project.run("--p=1", ELSEWHERE=elsewhere["a"])
    keys = project.ask('answer = [run.data.key for run in Flow("Stores").runs()]')
    return {"loaded": loaded, "gc": gone.stdout, "again": again.memo_lines, "keys": keys}


def test_threads_load_each_from_the_store_they_switched_to(stores: dict[str, Any]) -> None:
    assert stores["loaded"] == ["p = 1", "p = 2"]


def test_a_key_names_one_checkpoint_in_all_stores(stores: dict[str, Any]) -> None:
    assert len(set(stores["keys"])) == 2


def test_a_reference_held_by_an_object_or_a_dict_key_is_still_there(stores: dict[str, Any]) -> None:
    assert stores["again"][-1].startswith("1 hit"), stores


REUSED = """
    from metaflow import FlowSpec, checkpoint, current, delete_model, step
    from notes import attempt, here, note

    class Reused(FlowSpec):
        @checkpoint(show_card=False)
        @step
        def start(self):
            here(current.checkpoint, state="old")
            old = current.checkpoint.save()
            delete_model(old)
            here(current.checkpoint, state="new")
            new = current.checkpoint.save()
            note(same=old["key"] == new["key"], old=attempt(current.checkpoint.load, old, "old"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Reused()
"""


@once
def reused(project: Project) -> dict[str, Any]:
    project.write("flow.py", REUSED)
    project.run()
    return notes(project)


def test_the_key_of_a_deleted_checkpoint_is_never_given_again(reused: dict[str, Any]) -> None:
    assert reused["same"] is False
    assert "deleted" in reused["old"]
