"""@model keeps models and gives them back: to steps, flows, users and scripts."""

from __future__ import annotations

import pytest

from tests.stories.world import notes, once

FLOW = """
    import os
    from pathlib import Path
    from metaflow import (
        Checkpoint, FlowSpec, checkpoint, current, delete_model, load_model, model, step)
    from notes import attempt, here, note, tree

    class Maker(FlowSpec):
        @checkpoint(show_card=False)
        @model
        @step
        def start(self):
            os.makedirs("net/layers")
            Path("net/layers/one.bin").write_text("layer one")
            Path("net/config.json").write_text("{}")
            self.net = current.model.save("net", label="classifier", metadata={"epochs": 10})
            self.single = current.model.save("net/config.json")
            note(path_object=attempt(current.model.save, Path("net/config.json")))
            self.files = current.model.save("net", storage_format="files")
            ordered = current.model.save("net", "by order", {"m": 1}, "files")
            note(net=self.net, single=self.single, ordered=ordered, files=self.files,
                 pathspec=current.pathspec,
                 wrong=attempt(current.model.save, "net", storage_format="zip"),
                 nothing_loaded=[len(current.model.loaded), dict(current.model.loaded.info)])
            here(current.checkpoint, state="of checkpoint")
            self.ckpt = current.checkpoint.save()
            self.key = self.net["key"]
            self.ckpt_key = self.ckpt["key"]
            self.ckpt_object = Checkpoint().list(as_dict=False)[0]
            self.next(self.by_name)

        @model(load="net")
        @step
        def by_name(self):
            loaded = current.model.loaded
            note(by_name=tree(loaded["net"]), length=len(loaded), has="net" in loaded,
                 has_not="other" in loaded, info=loaded.info["net"],
                 wrong_name=attempt(loaded.__getitem__, "other"))
            note(iterated=attempt(lambda: sorted(loaded)))
            self.next(self.by_list)

        @model(load=["net", "ckpt", "key", "ckpt_key", "ckpt_object", "files"],
               temp_dir_root="roots/models")
        @step
        def by_list(self):
            loaded = current.model.loaded
            for name in loaded.info:
                note(**{f"list {name}": tree(loaded[name])})
            note(roots=[str(Path(loaded["net"]).resolve()), str(Path("roots/models").resolve())],
                 types=[loaded.info["net"]["type"], loaded.info["ckpt"]["type"]])
            path = loaded["net"]
            loaded.cleanup("net")
            note(cleaned=[os.path.exists(path), "net" in loaded, len(loaded),
                          "net" in loaded.info], wrong_cleanup=attempt(loaded.cleanup, "net"))
            target = Path(loaded["files"], "config.json")
            note(modes=[oct(p.stat().st_mode & 0o222) for p in Path(loaded["files"]).rglob("*")
                        if p.is_file()])
            try:
                target.write_text("scribbled over")
            except PermissionError:
                pass
            again = current.model.load(self.files)
            note(unscribbled=tree(again))
            self.next(self.by_pairs)

        @model(load=[("net", "./here/net"), ("ckpt", None)])
        @step
        def by_pairs(self):
            loaded = current.model.loaded
            note(pair_path=str(loaded["net"]), pair_there=tree("here/net"),
                 pair_none=tree(loaded["ckpt"]))
            self.next(self.by_hand)

        @model
        @step
        def by_hand(self):
            m = current.model
            path = m.load(self.net)
            note(hand_type=type(path).__name__, hand=tree(path),
                 hand_key=tree(m.load(self.key)), hand_ckpt=tree(m.load(self.ckpt)),
                 hand_path=[str(m.load(self.net, "there")), tree("there")],
                 hand_none=attempt(m.load, None), hand_number=attempt(m.load, 7),
                 hand_nonsense=attempt(m.load, "no key of anything"),
                 hand_info=self.net["key"] in m.loaded.info)
            load_model(self.net, "by function")
            load_model(self.ckpt["key"], "by function and key")
            note(function=tree("by function"), function_key=tree("by function and key"))
            note(writable=attempt(self.write))
            self.next(self.delete)

        def write(self):
            path = Path(current.model.load(self.files, path="mine", writable=True))
            (path / "config.json").write_text("mine now")
            load_model(self.files, "fresh")
            return [tree(path)["config.json"], tree("fresh")["config.json"],
                    all(p.stat().st_mode & 0o200 for p in path.rglob("*"))]

        @model
        @step
        def delete(self):
            doomed = current.model.save("net/config.json")
            load_model(doomed, "doomed")
            note(deleted=delete_model(doomed))
            note(dead_load=attempt(load_model, doomed, "dead"),
                 dead_key=attempt(current.model.load, doomed["key"]),
                 left_behind=os.path.exists("dead") and tree("dead"))
            again = current.model.save("net/config.json")
            note(deleted_by_key=delete_model(again["key"]),
                 deleted_none=attempt(delete_model, None),
                 loaded_none=attempt(load_model, None, "x"),
                 loaded_nowhere=attempt(load_model, self.net, None),
                 deleted_nonsense=attempt(delete_model, "no key of anything"))
            load_model(self.single, "single")
            note(others_live=tree("single"))
            self.gone = doomed
            self.next(self.best_effort)

        @model(load=["gone", "net"], best_effort_load=True)
        @step
        def best_effort(self):
            note(best_effort=tree(current.model.loaded["net"]),
                 best_effort_gone=attempt(current.model.loaded.__getitem__, "gone"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Maker()
"""

USER = """
    from metaflow import FlowSpec, Parameter, current, model, step
    from notes import note, tree

    class User(FlowSpec):
        wanted = Parameter("wanted")

        @model(load="wanted")
        @step
        def start(self):
            note(parameter=tree(current.model.loaded["wanted"]))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        User()
"""

SCRIPT = """
    from metaflow import Checkpoint, Flow, delete_model, load_model, namespace
    from notes import attempt, note, tree

    namespace(None)
    task = Flow("Maker").latest_run["start"].task
    load_model(task.data.net, "script net")
    load_model(task.data.ckpt, "script ckpt")
    load_model(task.data.key, "script key")
    load_model(Checkpoint().list(task=task, as_dict=False)[0], "script object")
    note(script=[tree(f"script {x}") for x in ("net", "ckpt", "key", "object")])
    note(script_deleted=delete_model(task.data.files),
         script_metadata=task.metadata_dict.get("saved-models"))
"""

MISSING = """
    from metaflow import FlowSpec, model, step

    class Missing(FlowSpec):
        @step
        def start(self):
            self.my_net = 7
            self.next(self.use)

        @model(load="my_net")
        @step
        def use(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Missing()
"""


@once
def seen(project):
    project.write("flow.py", FLOW)
    project.write("user.py", USER)
    project.write("script.py", SCRIPT)
    maker = project.run(ok=False)
    project.run(f"--wanted={notes(project)['net']['key']}", flow="user.py", METAFLOW_USER="other")
    done = project.python("script.py")
    assert done.returncode == 0, done.stdout
    return notes(project) | {"code": maker.code, "text": maker.text}


NET = {"layers/one.bin": "layer one", "config.json": "{}"}
KEYS = {
    "pathspec": str,
    "attempt": int,
    "key": str,
    "created_on": str,
    "type": str,
    "url": str,
    "model_uuid": str,
    "metadata": dict,
    "source": str,
    "storage_format": str,
    "serializer": str,
    "size": int,
}


def test_a_reference_has_the_keys_of_a_model(seen):
    assert set(seen["net"]) == {*KEYS, "label"}


@pytest.mark.parametrize("key", KEYS)
def test_each_value_of_a_reference_has_its_type(seen, key):
    assert type(seen["net"][key]) is KEYS[key]


@pytest.mark.parametrize(
    ("key", "value"),
    [("type", "model"), ("source", "task"), ("storage_format", "tar"), ("attempt", 0)],
)
def test_a_reference_says(seen, key, value):
    assert seen["net"][key] == value


def test_a_reference_says_who_made_it(seen):
    assert seen["net"]["pathspec"] == seen["pathspec"]


def test_metadata_is_kept(seen):
    assert seen["net"]["metadata"] == {"epochs": 10}
    assert seen["single"]["metadata"] == {}


def test_the_label_is_kept(seen):  # bug 27
    assert seen["net"]["label"] == "classifier"


def test_arguments_of_save_come_in_their_order(seen):
    assert seen["ordered"]["metadata"] == {"m": 1}
    assert seen["ordered"]["storage_format"] == "files"


def test_a_path_may_be_a_path_object(seen):  # better
    assert seen["path_object"]["type"] == "model"


def test_each_save_has_a_key_of_its_own(seen):
    assert len({seen[name]["key"] for name in ("net", "single", "files", "ordered")}) == 4


def test_another_storage_format_is_a_value_error(seen):
    assert seen["wrong"].startswith("ValueError")
    assert "zip" in seen["wrong"]


def test_nothing_is_loaded_unasked(seen):
    assert seen["nothing_loaded"] == [0, {}]


def test_load_takes_one_name(seen):
    assert seen["by_name"] == NET


def test_loaded_is_a_mapping_with_a_length(seen):
    assert (seen["length"], seen["has"], seen["has_not"]) == (1, True, False)


def test_a_name_that_was_not_loaded_is_a_key_error(seen):
    assert seen["wrong_name"].startswith("KeyError")


def test_loaded_is_iterable(seen):  # bug 27
    assert seen["iterated"] == ["net"]


def test_info_is_the_reference(seen):
    assert seen["info"] == seen["net"]


@pytest.mark.parametrize("name", ["net", "key", "files"])
def test_load_takes_a_list_of_models(seen, name):
    assert seen[f"list {name}"] == NET


@pytest.mark.parametrize("name", ["ckpt", "ckpt_key", "ckpt_object"])
def test_load_takes_checkpoints_too(seen, name):
    assert seen[f"list {name}"] == {"state": "of checkpoint"}


def test_info_tells_models_from_checkpoints(seen):
    assert seen["types"] == ["model", "checkpoint"]


def test_models_are_loaded_under_temp_dir_root(seen):
    path, root = seen["roots"]
    assert path.startswith(root + "/")


def test_cleanup_removes_the_files_and_the_name(seen):
    assert seen["cleaned"] == [False, False, 5, False]


def test_cleanup_of_what_is_not_loaded_is_a_key_error(seen):
    assert seen["wrong_cleanup"].startswith("KeyError")


def test_loaded_files_are_read_only(seen):  # beyond
    assert set(seen["modes"]) == {"0o0"}


def test_writing_to_a_loaded_model_changes_no_history(seen):  # bug 1
    assert seen["unscribbled"] == NET


def test_load_takes_pairs_of_name_and_path(seen):
    assert seen["pair_there"] == NET
    assert seen["pair_path"].endswith("here/net")


def test_a_pair_without_path_goes_to_a_directory_of_its_own(seen):
    assert seen["pair_none"] == {"state": "of checkpoint"}


def test_load_by_hand_returns_the_path_as_text(seen):
    assert seen["hand_type"] == "str"
    assert seen["hand"] == NET


def test_load_by_hand_takes_a_key(seen):
    assert seen["hand_key"] == NET


def test_load_by_hand_takes_a_checkpoint(seen):
    assert seen["hand_ckpt"] == {"state": "of checkpoint"}


def test_load_by_hand_takes_a_path(seen):
    assert seen["hand_path"] == ["there", NET]


def test_what_was_loaded_by_hand_is_in_info(seen):
    assert seen["hand_info"]


def test_load_of_none_is_a_value_error(seen):
    assert seen["hand_none"].startswith("ValueError")


@pytest.mark.parametrize("name", ["hand_number", "hand_nonsense"])
def test_load_of_what_is_no_reference_says_so(seen, name):
    assert "reference" in seen[name]


def test_load_model_loads_in_a_step_without_ado(seen):
    assert seen["function"] == NET
    assert seen["function_key"] == {"state": "of checkpoint"}


def test_writable_files_can_be_written_and_the_store_stays_as_it_was(seen):  # beyond
    assert seen["writable"] == ["mine now", "{}", True]


def test_delete_model_says_that_it_did(seen):
    assert seen["deleted"] is True
    assert seen["deleted_by_key"] is True


def test_a_deleted_model_cannot_be_loaded(seen):
    assert isinstance(seen["dead_load"], str)
    assert isinstance(seen["dead_key"], str)


def test_a_failed_load_leaves_no_files(seen):
    assert not seen["left_behind"]


def test_deleting_leaves_equal_models_alone(seen):
    assert seen["others_live"] == {"config.json": "{}"}


@pytest.mark.parametrize("name", ["deleted_none", "loaded_none", "loaded_nowhere"])
def test_none_is_a_value_error(seen, name):
    assert seen[name].startswith("ValueError")


def test_deleting_what_is_no_reference_is_an_error(seen):
    assert isinstance(seen["deleted_nonsense"], str)


def test_best_effort_goes_on_without_what_is_gone(seen):  # better
    assert seen["code"] == 0, seen["text"]
    assert seen["best_effort"] == NET


def test_best_effort_shows_what_is_gone_as_none(seen):  # better
    assert seen["best_effort_gone"] is None


def test_a_parameter_of_another_flow_of_another_user_may_be_the_key(seen):
    assert seen["parameter"] == NET


def test_a_script_loads_references_keys_and_objects(seen):
    net, ckpt, key, from_object = seen["script"]
    assert net == key == NET
    assert ckpt == from_object == {"state": "of checkpoint"}


def test_a_script_deletes(seen):
    assert seen["script_deleted"] is True


def test_the_metadata_of_a_task_names_the_models_it_saved(seen):
    assert seen["net"]["key"] in seen["script_metadata"]


def test_a_step_stops_with_the_name_of_what_is_no_reference(project):
    project.write("flow.py", MISSING)
    ran = project.run(ok=False)
    assert ran.code != 0
    assert "my_net" in ran.text
