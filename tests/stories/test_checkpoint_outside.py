"""`Checkpoint` outside of `current`: in a task's subprocesses, in scripts and in notebooks."""

from __future__ import annotations

import textwrap

import pytest

from tests.stories.world import notes, once

CHILD = """
    import sys
    from metaflow import Checkpoint
    from notes import note

    who = sys.argv[1]
    saved = []
    for number in range(5):
        with open(f"{who}.txt", "w") as file:
            file.write(f"{who} {number}")
        saved.append(Checkpoint().save(f"{who}.txt"))
    note(**{f"{who} saved": saved})
"""

FLOW = """
    import os, subprocess, sys
    from pathlib import Path
    from metaflow import Checkpoint, FlowSpec, checkpoint, current, step
    from notes import attempt, note, tree

    class Outside(FlowSpec):
        @checkpoint(show_card=False)
        @step
        def start(self):
            self.alone()
            children = [
                subprocess.Popen([sys.executable, "child.py", who]) for who in ("ann", "ben")
            ]
            saved = []
            for number in range(5):
                Path("parent.txt").write_text(f"parent {number}")
                saved.append(current.checkpoint.save("parent.txt"))
            codes = [child.wait(timeout=60) for child in children]
            note(**{"parent saved": saved}, codes=codes)
            listed = current.checkpoint.list("mfchckpt")
            note(listed=listed)
            for number, reference in enumerate(listed):
                current.checkpoint.load(reference, f"loaded/{number}")
            note(loaded=sorted(
                text for n in range(len(listed)) for text in tree(f"loaded/{n}").values()))
            self.next(self.end)

        def alone(self):
            Path("one.txt").write_text("one")
            before = Checkpoint()
            note(no_directory=before.directory, pathless=attempt(before.save))
            ordered = Checkpoint().save("one.txt", {"k": 1}, False, "ordered", "tar")
            note(ordered=ordered, own_pathspec=current.pathspec)

            with Checkpoint() as c:
                inside = c.directory
                Path(inside, "two.txt").write_text("two")
                saved = c.save(name="from with")
                note(inside=os.path.isdir(inside), from_with=saved["size"])
            note(gone=not os.path.exists(inside), after=c.directory)
            with Checkpoint() as c:
                c.load(saved)
                note(loaded_with=tree(c.directory))

            os.makedirs("roots")
            held = Checkpoint(temp_dir_root="roots", init_dir=True)
            note(init_dir=[os.path.isdir(held.directory),
                           Path(held.directory).resolve().parent.name])

            keys = Checkpoint()
            key = keys.generate_key("planned")
            saved = keys.save("one.txt", name="planned")
            note(planned=[key, saved["key"]], again=keys.generate_key("x", saved["version_id"]))
            note(objects=[[o.name, o.key, o.to_dict()["key"]] for o in
                          Checkpoint().list("ordered", as_dict=False)],
                 dicts=[r["name"] for r in Checkpoint().list("ordered")],
                 by_order=[r["name"] for r in Checkpoint().list("ordered", None, 0, False, True)])

        @step
        def end(self):
            note(without=attempt(Checkpoint().save, "one.txt"))

    if __name__ == "__main__":
        Outside()
"""

SCRIPT = """
    import os, sys
    from metaflow import Checkpoint, Flow, Task, artifact_store_from, load_model
    from notes import attempt, note, tree

    task = Flow("Outside").latest_run["start"].task
    references = Checkpoint().list("ordered", task=task)
    note(script_listed=[r["name"] for r in references],
         script_by_pathspec=len(Checkpoint().list(task=task.pathspec)),
         script_all=len(Checkpoint().list(task=task)))
    Checkpoint().load(references[0], "script loaded")
    Checkpoint().load(references[0]["key"], "script by key")
    note(script_loaded=tree("script loaded"), script_by_key=tree("script by key"))
    objects = Checkpoint().list("ordered", task=task, as_dict=False)
    Checkpoint().load(objects[0], "script by object")
    note(script_by_object=tree("script by object"))
    with Checkpoint() as c:
        c.load(references[0])
        note(script_with=tree(c.directory))
    note(script_save=attempt(Checkpoint().save, "one.txt"),
         script_list=attempt(Checkpoint().list),
         script_full=attempt(Checkpoint().list, full_namespace=True),
         script_key=attempt(Checkpoint().generate_key, "x"),
         script_pathless=attempt(Checkpoint().load, references[0]),
         script_no_task=attempt(Checkpoint().list, task="Outside/1/start/1"))
"""


@once
def seen(project):
    project.write("child.py", CHILD)
    project.write("flow.py", FLOW)
    project.write("script.py", SCRIPT)
    project.run()
    done = project.python("script.py")
    assert done.returncode == 0, done.stdout
    return notes(project)


EVERYTHING = sorted(f"{who} {number}" for who in ("ann", "ben", "parent") for number in range(5))


def test_subprocesses_can_save(seen):
    assert seen["codes"] == [0, 0]
    assert len(seen["ann saved"]) == 5


def test_subprocesses_save_for_the_task_that_started_them(seen):
    assert {r["pathspec"] for r in seen["ann saved"]} == {seen["own_pathspec"]}


def test_parent_and_children_have_keys_of_their_own(seen):  # bug 2
    saved = [r["key"] for who in ("ann", "ben", "parent") for r in seen[f"{who} saved"]]
    assert len(set(saved)) == 15


def test_parent_and_children_list_everything(seen):  # bug 2
    assert len(seen["listed"]) == 15


def test_parent_and_children_keep_all_of_theirs(seen):  # bug 2
    assert seen["loaded"] == EVERYTHING


def test_a_child_makes_references_like_its_parents(seen):
    child, parent = seen["ann saved"][0], seen["parent saved"][0]
    assert set(child) == set(parent)


def test_a_child_knows_its_attempt_as_a_number(seen):  # better
    assert seen["ann saved"][0]["attempt"] == 0


def test_there_is_no_directory_until_asked_for(seen):
    assert seen["no_directory"] is None


def test_save_without_path_or_directory_is_a_value_error(seen):
    assert seen["pathless"].startswith("ValueError")


def test_arguments_of_save_come_in_their_own_order(seen):
    assert seen["ordered"]["metadata"] == {"k": 1}
    assert seen["ordered"]["name"] == "ordered"
    assert seen["ordered"]["storage_format"] == "tar"


def test_in_a_task_it_saves_for_the_task(seen):
    assert seen["ordered"]["pathspec"] == seen["own_pathspec"]


def test_in_a_with_block_there_is_a_directory(seen):
    assert seen["inside"]


def test_in_a_with_block_save_takes_the_directory(seen):
    assert seen["from_with"] == 3


def test_in_a_with_block_load_fills_the_directory(seen):
    assert seen["loaded_with"] == {"two.txt": "two"}


def test_the_directory_is_gone_after_the_with_block(seen):
    assert seen["gone"]
    assert seen["after"] is None


def test_init_dir_makes_the_directory_under_temp_dir_root(seen):
    assert seen["init_dir"] == [True, "roots"]


def test_generate_key_is_that_of_the_next_save(seen):
    planned, saved = seen["planned"]
    assert planned == saved


def test_generate_key_of_a_version_has_its_number(seen):
    number = seen["planned"][1].rpartition("/")[2].partition("-")[0]
    assert seen["again"].rpartition("/")[2].startswith(f"{number}-")


def test_list_as_objects(seen):
    (name, key, key_in_dict) = seen["objects"][0]
    assert (name, key) == ("ordered", key_in_dict)


def test_list_is_of_dicts_by_default(seen):
    assert seen["dicts"] == ["ordered"]


def test_arguments_of_list_come_in_their_order(seen):
    assert seen["by_order"] == ["ordered"]


def test_a_step_without_the_decorator_cannot_save(seen):
    assert "@checkpoint" in seen["without"]


def test_a_script_lists_the_checkpoints_of_a_task(seen):
    assert seen["script_listed"] == ["ordered"]


def test_a_script_may_name_the_task_by_its_pathspec(seen):
    assert seen["script_by_pathspec"] == seen["script_all"]


def test_a_script_lists_what_subprocesses_saved(seen):  # bug 2
    assert seen["script_all"] == 15 + len(("ordered", "from with", "planned"))


@pytest.mark.parametrize("how", ["loaded", "by_key", "by_object", "with"])
def test_a_script_loads(seen, how):
    assert seen[f"script_{how}"] == {"one.txt": "one"}


def test_a_script_cannot_save_and_is_told_where_one_can(seen):
    assert "METAFLOW_CHECKPOINT_UID" in seen["script_save"]
    assert "@checkpoint" in seen["script_save"]


def test_a_script_must_name_the_task_to_list(seen):
    assert seen["script_list"].startswith("ValueError")
    assert "task" in seen["script_list"]


def test_a_script_cannot_list_the_full_namespace(seen):
    assert seen["script_full"].startswith("ValueError")


def test_a_script_cannot_generate_keys(seen):
    assert "@checkpoint" in seen["script_key"]


def test_a_script_must_say_where_to_load_to(seen):
    assert seen["script_pathless"].startswith("ValueError")


def test_a_script_is_told_of_a_task_that_is_not_there(seen):
    assert seen["script_no_task"].startswith("MetaflowNotFound")


def test_an_environment_of_no_task_of_ours_is_refused(project):
    code = textwrap.dedent("""
        from metaflow import Checkpoint
        try:
            print(Checkpoint().save(__file__))
        except Exception as error:
            print("REFUSED", error)
    """)
    project.write("script.py", code)
    done = project.python("script.py", METAFLOW_CHECKPOINT_UID="nonsense")
    assert "REFUSED" in done.stdout
    assert "METAFLOW_CHECKPOINT_UID" in done.stdout
