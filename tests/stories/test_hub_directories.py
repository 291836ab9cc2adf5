"""Temporary directories of @huggingface_hub: whose they are, and when they go."""

from __future__ import annotations

from pathlib import Path

from tests.hubs import Hub
from tests.stories.world import notes, once

FLOW = """
    import atexit, os, signal, sys
    from metaflow import FlowSpec, current, huggingface_hub, retry, step
    from notes import note, tree

    def roots():  # without the locks of those that live
        return [name for name in os.listdir("roots") if not name.endswith(".lock")]

    def forked(act):
        child = os.fork()
        if child == 0:
            exit_after(act)
        os.waitpid(child, 0)

    def exit_after(act):
        try:
            act()
        finally:
            # As at the end of any process, which is not that of the task.
            atexit._run_exitfuncs()
            os._exit(0)

    class Directories(FlowSpec):
        @retry(times=1, minutes_between_retries=0)
        @huggingface_hub(load=["org/name"], temp_dir_root="roots")
        @step
        def start(self):
            loaded = current.huggingface_hub.loaded["org/name"]
            if current.retry_count == 0:
                note(killed=loaded, before=tree(loaded))
                os.kill(os.getpid(), signal.SIGKILL)
            note(second=roots(), loaded=os.path.basename(loaded))

            try:
                with current.huggingface_hub.load("org/name") as path:
                    child = os.fork()
                    if child == 0:
                        sys.exit()
                    os.waitpid(child, 0)
                    note(after_exit=[tree(loaded), tree(path)])
            except SystemExit:
                exit_after(current.huggingface_hub.clean_up)
            note(removed=not os.path.exists(path))

            with current.huggingface_hub.load("org/name", path=loaded):
                pass
            note(after_given=tree(loaded))

            def load_in_child():
                with current.huggingface_hub.load("org/name") as mine:
                    note(in_child=tree(mine))
                note(gone=not os.path.exists(mine))

            forked(load_in_child)
            note(after_block=tree(loaded), left=roots())
            os.chdir("/")
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Directories()
"""
TREE = {"config.json": "{}"}


@once
def seen(project):
    project.write("flow.py", FLOW)
    with Hub() as hub:
        hub.add("org/name", {"config.json": b"{}"})
        project.run(**hub.env(project.folder / "hf"))
    return notes(project) | {
        "at_last": [path.name for path in (project.folder / "roots").iterdir()]
    }


def test_a_killed_attempt_leaves_a_directory_that_the_next_one_removes(seen):
    assert seen["before"] == TREE
    assert not Path(seen["killed"]).exists()
    assert seen["second"] == [seen["loaded"]]


def test_a_forked_child_that_exits_leaves_its_parents_directories(seen):
    assert seen["after_exit"] == [TREE, TREE]
    assert seen["removed"]


def test_a_directory_that_was_given_stays_though_it_is_a_temporary_one(seen):
    assert seen["after_given"] == TREE


def test_a_forked_child_removes_what_it_loaded_and_no_more(seen):
    assert seen["in_child"] == TREE
    assert seen["gone"]
    assert seen["after_block"] == TREE
    assert seen["left"] == [seen["loaded"]]


def test_nothing_is_left_in_the_end_wherever_the_step_went(seen):
    assert seen["at_last"] == []
