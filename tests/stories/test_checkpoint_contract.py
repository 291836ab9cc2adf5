"""`current.checkpoint` is what flows written for metaflow-checkpoint expect, without its bugs.

A test without a remark passes with metaflow-checkpoint 0.2.14 too: so it is what users rely on.
"Bug 17" is the 17th of the list in the contract; "better" is a bug that the list does not have, or
an error less clear than ours; "beyond" is what metaflow-checkpoint cannot do. Those fail there.
"""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.stories.world import notes, once

FLOW = """
    import json, os, threading, time
    from pathlib import Path
    from metaflow import FlowSpec, Task, checkpoint, current, retry, step
    from notes import attempt, here, note, tree

    sleep = time.sleep

    def counted(seconds):
        if seconds >= 1:
            note(slept=seconds)
        sleep(seconds)

    time.sleep = counted

    class Contract(FlowSpec):
        @retry(times=1, minutes_between_retries=0)
        @checkpoint(show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            first = current.retry_count == 0
            note(**{("first" if first else "second"): {
                "directory": str(c.directory),
                "is_loaded": c.is_loaded,
                "there": os.path.isdir(c.directory),
                "held": tree(c.directory),
                "identifier": c.task_identifier,
                "listed": [r["key"] for r in c.list()],
                "info": c.info and c.info.to_dict(),
            }})
            if first:
                self.look_first(c)
                raise ValueError("once")
            self.look_second(c)
            self.next(self.by_name)

        def look_first(self, c):
            here(c, **{"weights.bin": "w" * 10, "log.txt": "l"})
            os.makedirs(Path(c.directory, "deep", "er"))
            Path(c.directory, "deep", "er", "x").write_text("deep")
            plain = c.save()
            Path("best.txt").write_text("best")
            best = c.save(Path("best.txt"), name="best", metadata={"epoch": 1, "loss": 0.5},
                          latest=False)
            by_text = c.save("best.txt", "by text")
            ordered = c.save("best.txt", "ordered", {"k": [1, "two"]}, False, "tar")
            wrong = attempt(c.save, "best.txt", storage_format="zip")
            note(plain=plain, best=best, by_text=by_text, ordered=ordered, wrong=wrong,
                 newest_first=[r["name"] for r in c.list()],
                 listed_plain=[r for r in c.list() if r["key"] == plain["key"]],
                 by_name=[r["name"] for r in c.list("best")],
                 by_named_argument=[r["name"] for r in c.list(name="best")],
                 no_such_name=c.list(name="none of these"),
                 of_attempt=len(c.list(attempt=0)), of_no_attempt=c.list(attempt=7))

            note(as_json=json.loads(json.dumps(best)) == best)
            c.load(plain, "by reference")
            c.load(plain["key"], Path("by key"))
            c.load(best, path="one file")
            c.load(ordered, "from tar")
            note(by_reference=tree("by reference"), by_key=tree("by key"),
                 one_file=tree("one file"), from_tar=tree("from tar"))
            note(twice=attempt(c.load, plain, "by reference"), after_twice=tree("by reference"))
            Path("mine").mkdir()
            Path("mine/other.txt").write_text("mine")
            note(beside=attempt(c.load, best, "mine"), beside_held=tree("mine"))

            Path("draft.txt").write_text("draft")
            draft = c.save("draft.txt", name="draft")
            c.load(draft, "scribbled")
            Path("scribbled/draft.txt").write_text("scribbled over")
            c.load(draft, "unscribbled")
            note(unscribbled=tree("unscribbled"))

            before = str(c.directory)
            c.load(best)
            note(new_directory=[before, str(c.directory)], newly_held=tree(c.directory),
                 loaded_by_hand=[c.is_loaded, c.info])

            os.environ["TZ"] = "Etc/GMT-12"
            time.tzset()
            east = c.save("best.txt", name="east")["created_on"]
            os.environ["TZ"] = "Etc/GMT+12"
            time.tzset()
            note(created=[east, c.save("best.txt", name="west")["created_on"]])

            Path("good").mkdir()
            Path("good/state").write_text("good")
            note(good=c.save("good", name="good", metadata={"epoch": 9}))
            c.save("best.txt", name="aside", latest=False)

        def look_second(self, c):
            info = c.info
            note(info={name: getattr(info, name) for name in (
                "url", "key", "pathspec", "attempt", "created_on", "metadata", "size", "name",
                "version_id", "storage_format")} if info else None)
            here(c, more="second")
            second = c.save(name="second")
            note(in_second=second, listed_after=[r["key"] for r in c.list()],
                 of_first=sorted(r["name"] for r in c.list(attempt=0)),
                 of_second=[r["name"] for r in c.list(attempt=1)])
            c.load(info, "from info")
            note(from_info=tree("from info"))

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(load_policy="none", show_card=False)
        @step
        def by_name(self):
            self.twice("none")
            self.next(self.by_nothing)

        def twice(self, name):
            c = current.checkpoint
            if current.retry_count == 0:
                here(c, state="kept")
                c.save(latest=name != "aside")
                raise ValueError("once")
            note(**{f"after_{name}": [c.is_loaded, c.info, tree(c.directory), len(c.list())]})

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(load_policy=None, show_card=False)
        @step
        def by_nothing(self):
            self.twice("nothing")
            self.next(self.aside)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(load_policy="fresh", show_card=False)
        @step
        def aside(self):
            self.twice("aside")
            self.next(self.rooted)

        @checkpoint(temp_dir_root="roots/deep")
        @step
        def rooted(self):
            c = current.checkpoint
            note(rooted=[str(Path(c.directory).resolve()), str(Path("roots/deep").resolve())])
            c.save("best.txt")
            for thread in threading.enumerate():
                if thread is not threading.current_thread():
                    thread.join(0.3)  # So that one that sleeps has begun to.
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Contract()
"""


@once
def seen(project):
    project.write("flow.py", FLOW)
    text = project.run().text
    cards = """
        from metaflow.cards import get_cards
        from notes import attempt
        run = Flow("Contract").latest_run
        cards = lambda step: len(list(get_cards(run[step].task)))
        answer = {step: attempt(cards, step) for step in ("start", "rooted")}
    """
    left = [path.name for path in (project.folder / "roots" / "deep").iterdir()]
    return notes(project) | {"text": text, "left": left, "cards": project.ask(cards)}


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


def test_nothing_is_loaded_at_first(seen):
    assert seen["first"]["is_loaded"] is False


def test_there_is_no_info_at_first(seen):
    assert seen["first"]["info"] is None


def test_the_directory_is_there_and_empty_at_first(seen):
    assert seen["first"]["there"]
    assert seen["first"]["held"] == {}


def test_nothing_is_listed_at_first(seen):
    assert seen["first"]["listed"] == []


def test_the_identifier_is_12_hex_characters(seen):
    assert len(seen["first"]["identifier"]) == 12
    int(seen["first"]["identifier"], 16)


def test_a_retry_has_the_identifier_of_the_first_attempt(seen):
    assert seen["second"]["identifier"] == seen["first"]["identifier"]


def test_a_reference_has_the_13_keys_and_no_other(seen):
    assert set(seen["plain"]) == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_each_value_of_a_reference_has_its_type(seen, key):
    assert type(seen["plain"][key]) is KEYS[key]


def test_a_reference_survives_json(seen):
    assert seen["as_json"]


def test_a_reference_says_who_made_it(seen):
    flow, _, step, task = seen["plain"]["pathspec"].split("/")
    assert (flow, step, task) == ("Contract", "start", "1")
    assert seen["plain"]["attempt"] == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("type", "checkpoint"),
        ("creation_context", "task"),
        ("name", "mfchckpt"),
        ("metadata", {}),
        ("storage_format", "files"),
        ("size", 15),
    ],
)
def test_a_save_without_arguments_means(seen, key, value):
    assert seen["plain"][key] == value


def test_a_reference_gives_the_name_and_metadata_of_its_save(seen):
    assert seen["best"]["name"] == "best"
    assert seen["best"]["metadata"] == {"epoch": 1, "loss": 0.5}


def test_a_path_may_be_text(seen):
    assert seen["by_text"]["size"] == 4


def test_arguments_of_save_come_in_their_order(seen):
    assert seen["ordered"]["name"] == "ordered"
    assert seen["ordered"]["metadata"] == {"k": [1, "two"]}
    assert seen["ordered"]["storage_format"] == "tar"


def test_another_storage_format_is_a_value_error_that_names_both(seen):
    assert seen["wrong"].startswith("ValueError")
    assert all(word in seen["wrong"] for word in ("zip", "tar", "files"))


def test_a_refused_save_is_not_listed(seen):
    assert len(seen["newest_first"]) == 4


def test_list_gives_what_save_returned(seen):
    assert seen["listed_plain"] == [seen["plain"]]


def test_list_is_newest_first(seen):
    assert seen["newest_first"] == ["ordered", "by text", "best", "mfchckpt"]


def test_list_filters_by_name(seen):
    assert seen["by_name"] == seen["by_named_argument"] == ["best"]


def test_list_of_a_name_that_is_not_there_is_empty(seen):
    assert seen["no_such_name"] == []


def test_list_filters_by_attempt(seen):
    assert seen["of_attempt"] == 4
    assert seen["of_no_attempt"] == []


def test_load_takes_a_reference(seen):
    assert seen["by_reference"] == {
        "weights.bin": "w" * 10,
        "log.txt": "l",
        "deep/er/x": "deep",
    }


def test_load_takes_a_key(seen):
    assert seen["by_key"] == seen["by_reference"]


def test_load_takes_an_info_object(seen):
    assert seen["from_info"] == {"state": "good"}


def test_a_saved_file_loads_under_its_name(seen):
    assert seen["one_file"] == {"best.txt": "best"}


def test_what_was_saved_as_tar_loads_as_files(seen):
    assert seen["from_tar"] == {"best.txt": "best"}


def test_loading_twice_into_one_directory_is_fine(seen):  # bug 20
    assert seen["twice"] is None
    assert seen["after_twice"] == seen["by_reference"]


def test_loading_leaves_other_files_of_the_directory_alone(seen):
    assert seen["beside_held"] == {"best.txt": "best", "other.txt": "mine"}


def test_writing_to_a_loaded_file_changes_no_history(seen):  # bug 1
    assert seen["unscribbled"] == {"draft.txt": "draft"}


def test_load_without_a_path_makes_a_new_directory(seen):
    before, after = seen["new_directory"]
    assert before != after
    assert seen["newly_held"] == {"best.txt": "best"}


def test_loading_by_hand_is_not_being_loaded(seen):
    assert seen["loaded_by_hand"] == [False, None]


def test_created_on_orders_saves_in_whatever_time_zone(seen):  # bug 26
    east, west = map(datetime.fromisoformat, seen["created"])
    assert east < west


def test_a_retry_is_loaded(seen):
    assert seen["second"]["is_loaded"] is True


def test_a_retry_holds_the_latest_checkpoint_and_nothing_else(seen):
    assert seen["second"]["held"] == {"state": "good"}


def test_a_retry_has_a_new_directory(seen):
    assert seen["second"]["directory"] not in (
        seen["first"]["directory"],
        seen["new_directory"][1],
    )


def test_a_checkpoint_that_is_not_latest_is_not_loaded_by_a_retry(seen):
    assert seen["second"]["info"]["name"] == "good"


def test_info_becomes_the_reference(seen):
    assert seen["second"]["info"] == seen["good"]


@pytest.mark.parametrize(
    "name",
    [
        "url",
        "key",
        "pathspec",
        "attempt",
        "created_on",
        "metadata",
        "size",
        "name",
        "version_id",
        "storage_format",
    ],
)
def test_info_has_attribute(seen, name):
    assert seen["info"][name] == seen["good"][name]


def test_a_retry_lists_what_the_first_attempt_saved(seen):
    assert seen["plain"]["key"] in seen["second"]["listed"]


def test_a_save_of_a_retry_says_its_attempt(seen):
    assert seen["in_second"]["attempt"] == 1


def test_after_a_retry_the_newest_is_listed_first(seen):  # bug 17
    assert seen["listed_after"][0] == seen["in_second"]["key"]


def test_after_a_retry_each_attempt_can_be_listed(seen):
    assert seen["of_second"] == ["second"]
    assert "second" not in seen["of_first"]
    assert {"good", "best", "mfchckpt"} <= set(seen["of_first"])


@pytest.mark.parametrize(
    "said", ["Loading the following checkpoint", "[pathspec]", "[key]", "[created on]", "[url]"]
)
def test_loading_is_announced_with(seen, said):
    assert said in seen["text"]


def test_policy_none_loads_nothing_on_a_retry(seen):
    assert seen["after_none"] == [False, None, {}, 1]


def test_policy_none_that_is_no_text_loads_nothing_either(seen):  # bug 18
    assert seen["after_nothing"] == [False, None, {}, 1]


def test_only_checkpoints_that_are_not_latest_leave_nothing_to_load(seen):
    assert seen["after_aside"] == [False, None, {}, 1]


def test_temp_dir_root_is_made_and_holds_the_directory(seen):
    directory, root = seen["rooted"]
    assert directory.startswith(root + "/")


def test_no_task_waits_for_a_card_thread(seen):  # bug 21
    assert "slept" not in seen


def test_without_show_card_there_is_no_card(seen):  # better
    assert seen["cards"]["start"] != 1


def test_there_is_a_card_unless_it_is_switched_off(seen):
    assert seen["cards"]["rooted"] == 1


def test_no_directory_outlives_its_task(seen):
    assert seen["left"] == []


POLICY = """
    from metaflow import FlowSpec, checkpoint, step

    class Policy(FlowSpec):
        @checkpoint(load_policy="sometimes")
        @step
        def start(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Policy()
"""


def test_an_unknown_policy_is_refused_with_the_names_of_all_three(project):
    project.write("flow.py", POLICY)
    ran = project.run(ok=False)
    assert ran.code != 0
    assert ran.workers == []
    assert all(word in ran.text for word in ("sometimes", "eager", "none", "fresh"))


EAGER = """
    import os
    from metaflow import FlowSpec, Parameter, Task, checkpoint, current, step
    from notes import attempt, here, note, tree

    class Eager(FlowSpec):
        key = Parameter("key", default="")
        run = Parameter("run", default="first")

        @checkpoint(load_policy="eager", show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            facts = {"is_loaded": c.is_loaded, "held": tree(c.directory),
                     "from": c.info and c.info.pathspec, "id": current.run_id}
            here(c, **{self.run: "saved"})
            saved = c.save(metadata={"of": self.run})
            c.save(name="aside", metadata={"of": self.run}, latest=False)
            if not self.key:
                c.save(name="extra", metadata={"of": self.run}, latest=False)
            facts |= {
                "key": saved["key"],
                "own": [r["key"] for r in c.list()],
                "all": [r["metadata"]["of"] + " " + r["name"]
                        for r in c.list(full_namespace=True)],
                "named": [r["name"] for r in c.list("aside", full_namespace=True)],
                "not_within": [r["name"] for r in c.list("aside", within_task=False)],
                "version": saved["version_id"],
            }
            if self.key:
                c.load(self.key, "by parameter")
                facts["by_parameter"] = tree("by parameter")
                other = os.environ["OTHER"]
                facts["of_pathspec"] = [r["name"] for r in c.list(task=other)]
                facts["of_object"] = [r["name"] for r in c.list(task=Task(other))]
                facts["of_other_named"] = [r["name"] for r in c.list("aside", other)]
                facts["none_left"] = c.list("no such", other)
            note(**{self.run: facts})
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Eager()
"""


@once
def eager(project):
    project.write("flow.py", EAGER)
    run = project.run().run_id
    key = notes(project)["first"]["key"]
    project.run("--run=second", f"--key={key}", OTHER=f"Eager/{run}/start/1")
    return notes(project)


def test_eager_finds_nothing_in_the_first_run(eager):
    assert (eager["first"]["is_loaded"], eager["first"]["held"]) == (False, {})


def test_eager_loads_the_latest_of_another_run(eager):
    assert eager["second"]["is_loaded"] is True
    assert eager["second"]["held"] == {"first": "saved"}


def test_info_of_eager_names_the_task_that_saved(eager):
    assert eager["second"]["from"] == f"Eager/{eager['first']['id']}/start/1"


def test_list_without_arguments_is_of_this_task_only(eager):
    assert len(eager["second"]["own"]) == 2
    assert not set(eager["first"]["own"]) & set(eager["second"]["own"])


def test_list_of_the_full_namespace_goes_over_runs(eager):
    assert set(eager["second"]["all"]) == {
        "first mfchckpt",
        "first aside",
        "first extra",
        "second mfchckpt",
        "second aside",
    }


def test_list_of_the_full_namespace_is_newest_first(eager):  # bug 17
    assert eager["second"]["all"][:2] == ["second aside", "second mfchckpt"]


def test_list_of_the_full_namespace_filters_by_name(eager):
    assert eager["second"]["named"] == ["aside", "aside"]


def test_what_is_not_within_the_task_is_the_full_namespace(eager):
    assert eager["second"]["not_within"] == ["aside", "aside"]


def test_versions_count_from_0_over_all_runs(eager):
    assert (eager["first"]["version"], eager["second"]["version"]) == (0, 3)


def test_a_key_can_be_the_parameter_of_another_run(eager):
    assert eager["second"]["by_parameter"] == {"first": "saved"}


def test_list_takes_the_pathspec_of_another_task(eager):
    assert eager["second"]["of_pathspec"] == ["extra", "aside", "mfchckpt"]


def test_list_takes_the_task_itself(eager):
    assert eager["second"]["of_object"] == ["extra", "aside", "mfchckpt"]


def test_list_filters_another_task_by_name(eager):
    assert eager["second"]["of_other_named"] == ["aside"]
    assert eager["second"]["none_left"] == []
