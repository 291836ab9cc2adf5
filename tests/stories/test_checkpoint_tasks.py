"""Whose checkpoint it is: by foreach value, gang, namespace or tag, over retries and resumes."""

from __future__ import annotations

import shutil

import pytest

from tests.stories.world import notes, once

SWEEP = """
    from metaflow import FlowSpec, JSONType, Parameter, checkpoint, current, step
    from notes import here, note, tree

    class Sweep(FlowSpec):
        items = Parameter("items", type=JSONType, default="[]")

        @step
        def start(self):
            self.outer = self.items[:2]
            self.next(self.train, self.split)

        @step
        def split(self):
            self.next(self.inner, foreach="outer")

        @step
        def inner(self):
            self.within = ["x", "y"] if self.items[0] == "a" else ["y", "x"]
            self.letter = self.input
            self.next(self.leaf, foreach="within")

        @checkpoint(load_policy="eager", show_card=False)
        @step
        def leaf(self):
            keep(f"{self.letter}/{self.input}")
            self.next(self.inner_join)

        @step
        def inner_join(self, inputs):
            self.next(self.outer_join)

        @step
        def outer_join(self, inputs):
            self.next(self.join)

        @step
        def train(self):
            self.each = self.items
            self.next(self.fit, foreach="each")

        @checkpoint(load_policy="eager", show_card=False)
        @step
        def fit(self):
            keep(repr(self.input))
            self.next(self.fit_join)

        @step
        def fit_join(self, inputs):
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    def keep(value):
        c = current.checkpoint
        found = list(tree(c.directory).values())
        note(**{value: found, f"id of {value}": c.task_identifier})
        if not found:
            here(c, state=value)
            c.save()

    if __name__ == "__main__":
        Sweep()
"""


@once
def sweep(project):
    project.write("flow.py", SWEEP)
    project.run('--items=["a", 1, "1"]')
    first = notes(project)
    (project.folder / "notes.jsonl").unlink()
    project.run('--items=["new", "a", "1", 1]')
    return first, notes(project)


@pytest.mark.parametrize("item", ["'a'", "1", "'1'"])
def test_an_item_keeps_its_checkpoint_wherever_it_stands(sweep, item):
    first, second = sweep
    assert first[item] == []
    assert second[item] == [item]


def test_an_inserted_item_starts_fresh(sweep):
    assert sweep[1]["'new'"] == []


def test_items_of_one_foreach_have_identifiers_of_their_own(sweep):
    assert len({sweep[0][f"id of {item}"] for item in ("'a'", "1", "'1'")}) == 3


def test_the_identifier_of_an_item_is_the_same_in_each_run(sweep):
    first, second = sweep
    assert first["id of 'a'"] == second["id of 'a'"]


@pytest.mark.parametrize("leaf", ["a/x", "a/y"])
def test_in_a_nested_foreach_all_levels_make_the_identity(sweep, leaf):
    assert sweep[1][leaf] == [leaf]


@pytest.mark.parametrize("leaf", ["new/x", "new/y"])
def test_in_a_nested_foreach_a_new_outer_item_starts_fresh(sweep, leaf):
    assert sweep[1][leaf] == []


ODD = """
    import datetime, decimal, enum, os
    from dataclasses import dataclass
    from pathlib import Path
    import numpy as np
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import here, note, tree

    @dataclass
    class Config:
        rate: float
        layers: tuple

    class Color(enum.Enum):
        RED = 1

    def items():
        return [
            datetime.date(2024, 5, 1),
            Path("data/train.csv"),
            np.float64(0.5),
            np.arange(6).reshape(2, 3),
            {"red", "green", "blue"},
            Config(0.1, (1, 2)),
            b"bytes",
            {"rate": np.int64(3), "when": datetime.datetime(2024, 5, 1)},
        ]

    LABELS = ["date", "path", "scalar", "array", "set", "dataclass", "bytes", "dict"]

    class Odd(FlowSpec):
        @step
        def start(self):
            self.each = list(zip(LABELS, items()))
            if os.environ.get("REVERSED"):
                self.each.reverse()
            self.labels = [label for label, _ in self.each]
            self.each = [item for _, item in self.each]
            self.next(self.fit, foreach="each")

        @checkpoint(load_policy="eager", show_card=False)
        @step
        def fit(self):
            c = current.checkpoint
            label = self.labels[self.index]
            found = list(tree(c.directory).values())
            note(**{label: found})
            if not found:
                here(c, state=label)
                c.save()
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Odd()
"""


@once
def odd(project):
    project.write("flow.py", ODD)
    project.run()
    first = notes(project)
    (project.folder / "notes.jsonl").unlink()
    project.run(REVERSED="1")
    return first, notes(project)


@pytest.mark.parametrize(
    "kind", ["date", "path", "scalar", "array", "set", "dataclass", "bytes", "dict"]
)
def test_an_item_may_be_any_value(odd, kind):  # bug 14
    first, second = odd
    assert first[kind] == []
    assert second[kind] == [kind]


GANG = """
    import os, time
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, parallel, retry, step
    from notes import here, note, tree

    class Gang(FlowSpec):
        @step
        def start(self):
            self.next(self.train, num_parallel=2)

        @retry(times=1, minutes_between_retries=0)
        @checkpoint(load_policy=os.environ.get("POLICY", "eager"), show_card=False)
        @parallel
        @step
        def train(self):
            c = current.checkpoint
            node = current.parallel.node_index
            facts = {"id": c.task_identifier, "held": list(tree(c.directory)),
                     "control": current.parallel.control_task_id}
            if os.environ.get("SAVE") and str(node) in os.environ["SAVE"]:
                here(c, **{f"node{node}": "x"})
                facts["saved"] = [c.save(name=f"node {node} save {i}") for i in range(3)]
            note(**{f"node{node}": facts})
            if os.environ.get("FAIL") and current.retry_count == 0:
                for _ in range(9000 * (node == 0)):  # until the other node has saved
                    if '"node1"' in Path("notes.jsonl").read_text():
                        break
                    time.sleep(0.1)
                raise RuntimeError("once")
            self.next(self.join)

        @step
        def join(self, inputs):
            self.next(self.turn)

        @step
        def turn(self):
            self.next(self.turned, num_parallel=2)

        @parallel
        @checkpoint(show_card=False)
        @step
        def turned(self):
            note(**{f"turned{current.parallel.node_index}": current.checkpoint.task_identifier})
            self.next(self.turned_join)

        @step
        def turned_join(self, inputs):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Gang()
"""


@once
def gang(project):
    project.write("flow.py", GANG)
    run = project.run(SAVE="0,1").run_id
    first = notes(project)
    control = f"Gang/{run}/train/{first['node0']['control']}"
    listed = f"""
        from metaflow import Checkpoint
        answer = sorted(r["name"] for r in Checkpoint().list(task={control!r}))
    """
    first["names"] = project.ask(listed)
    (project.folder / "notes.jsonl").unlink()
    project.run()
    second = notes(project)
    (project.folder / "notes.jsonl").unlink()
    project.run(SAVE="0,1", FAIL="1", POLICY="fresh")
    third = notes(project)
    shutil.rmtree(project.store)
    project.run(SAVE="0")
    (project.folder / "notes.jsonl").unlink()
    project.run()
    return first, second, third, notes(project)


def test_a_gang_has_one_identifier(gang):  # better
    assert gang[0]["node0"]["id"] == gang[0]["node1"]["id"]


def test_the_order_of_the_decorators_does_not_matter_to_a_gang(gang):  # better
    assert gang[0]["turned0"] == gang[0]["turned1"]


def test_a_gang_saves_for_its_control_task(gang):
    saved = [r for node in ("node0", "node1") for r in gang[0][node]["saved"]]
    control = gang[0]["node0"]["control"]
    assert {r["pathspec"].rpartition("/")[2] for r in saved} == {control}


def test_nodes_that_save_at_once_keep_all_of_theirs(gang):
    assert gang[0]["names"] == sorted(f"node {n} save {i}" for n in (0, 1) for i in range(3))


@pytest.mark.parametrize("run", [1, 2], ids=["of the next run", "of the next attempt"])
@pytest.mark.parametrize("node", ["node0", "node1"])
def test_each_node_loads_its_own_shard(gang, node, run):  # better
    assert gang[run][node]["held"] == [node]


def test_nodes_that_saved_nothing_load_what_the_control_saved(gang):  # better
    assert gang[3]["node0"]["held"] == gang[3]["node1"]["held"] == ["node0"]


PLAIN = """
    import os
    from metaflow import FlowSpec, checkpoint, current, namespace, step
    from notes import here, note, tree

    if os.environ.get("NO_NAMESPACE"):
        namespace(None)

    class Plain(FlowSpec):
        @checkpoint(load_policy="eager", show_card=False)
        @step
        def start(self):
            c = current.checkpoint
            me = os.environ["ME"]
            note(**{me: list(tree(c.directory)), f"{me} sees": sorted(
                r["name"] for r in c.list(full_namespace=True))})
            if os.environ.get("SAVE"):
                c.save(os.path.abspath(__file__), name=me)
            note(**{f"{me} lived": True})
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Plain()
"""


@once
def users(project):
    project.write("flow.py", PLAIN)

    def run(me, *arguments, user, **env):
        return project.run(*arguments, METAFLOW_USER=user, ME=me, ok=False, **env)

    run("alice", user="alice", SAVE="1")
    run("bob", user="bob", SAVE="1")
    run("alice again", user="alice")
    run("alice with tag", "--tag=checkpoint:team", user="alice", SAVE="1")
    run("bob with tag", "--tag=checkpoint:team", "--tag=other", user="bob")
    run("carol", "--namespace=user:somebody", user="carol", SAVE="1")
    run("dave", user="dave", NO_NAMESPACE="1", SAVE="1")
    return notes(project)


def test_another_users_checkpoint_is_not_loaded(users):
    assert users["bob"] == []


def test_ones_own_is_loaded(users):
    assert users["alice again"] == ["flow.py"]


def test_the_full_namespace_is_ones_own(users):
    assert users["alice again sees"] == ["alice"]


def test_a_tag_is_a_scope_apart(users):
    assert users["alice with tag"] == []
    assert users["alice with tag sees"] == []


def test_a_tag_shares_between_users(users):  # bug 15
    assert users["bob with tag"] == ["flow.py"]
    assert users["bob with tag sees"] == ["alice with tag"]


def test_another_namespace_kills_no_task(users):  # bug 15
    assert users["carol lived"]


def test_no_namespace_kills_no_task(users):  # bug 15
    assert users["dave lived"]


RETRIED = """
    import os
    from metaflow import FlowSpec, checkpoint, current, retry, step
    from notes import attempt, here, note, tree

    class Retried(FlowSpec):
        @step
        def start(self):
            self.next(self.train)

        @retry(times=2, minutes_between_retries=0)
        @checkpoint(load_policy="eager", show_card=False)
        @step
        def train(self):
            c = current.checkpoint
            n = current.retry_count
            resumed = current.origin_run_id is not None
            held = sorted(tree(c.directory).values())
            note(**{"resumed" if resumed else f"attempt {n}": held})
            if not resumed:
                saved = c.save(write(f"state of {n}"), name=f"n{n}", metadata={"n": n})
                note(**{f"key of n{n}": saved["key"]})
                if n == 0:
                    os._exit(1)
            if os.environ.get("FAIL"):
                raise ValueError("to be resumed")
            self.next(self.end)

        @step
        def end(self):
            pass

    def write(text):
        with open(f"state{current.retry_count}", "w") as file:
            file.write(text)
        return file.name

    if __name__ == "__main__":
        Retried()
"""

LIST = """
from metaflow import Checkpoint
task = {task!r}
def names(**options):
    try:
        return [r["name"] for r in Checkpoint().list(task=task, **options)]
    except Exception as error:
        return f"{{type(error).__name__}}: {{error}}"
answer = dict(
    metadata=Task(task).metadata_dict,
    kinds=sorted({{m.type for m in Task(task).metadata if m.name.startswith("checkpoint-load")}}),
    first=names(attempt=0), second=names(attempt=1), text=names(attempt="1"),
    wrong=names(attempt="x"), default=names(),
)
"""


@once
def retried(project):
    project.write("flow.py", RETRIED)
    run = project.run(ok=False, FAIL="1").run_id
    failed = project.ask(LIST.format(task=f"Retried/{run}/train/2"))
    project.run("resume")
    resumed = project.ask(
        "answer = Flow('Retried').latest_run['train'].task.metadata_dict",
    )
    return notes(project) | {"run": run, "failed": failed, "metadata": resumed}


def test_a_process_that_ends_right_after_a_save_loses_nothing(retried):
    assert retried["attempt 1"] == ["state of 0"]


def test_each_attempt_loads_the_latest_of_the_ones_before(retried):
    assert "state of 1" in retried["attempt 2"]


def test_resume_with_eager_loads_what_the_failed_run_saved(retried):
    assert "state of 2" in retried["resumed"]


@pytest.mark.parametrize(
    ("field", "value"), [("attempt", "2"), ("name", "n2"), ("pathspec", "Retried/{run}/train/2")]
)
def test_the_metadata_of_a_task_says_what_it_loaded(retried, field, value):
    found = str(retried["metadata"][f"checkpoint-load-{field}"])
    assert found == value.format(run=retried["run"])


def test_the_metadata_of_a_task_has_the_key_of_what_it_loaded(retried):
    assert retried["metadata"]["checkpoint-load-key"] == retried["key of n2"]


def test_the_metadata_of_a_load_is_of_type_checkpoint(retried):
    assert retried["failed"]["kinds"] == ["checkpoint"]


def test_a_retry_of_a_lost_attempt_records_its_lineage_too(retried):
    assert retried["failed"]["metadata"]["checkpoint-load-name"] == "n1"


def test_list_of_a_task_and_an_attempt(retried):  # bug 16
    assert retried["failed"]["first"] == ["n0"]
    assert retried["failed"]["second"] == ["n1"]


def test_the_attempt_of_another_task_may_be_text(retried):  # bug 16
    assert retried["failed"]["text"] == ["n1"]


def test_an_attempt_that_is_no_number_is_a_value_error(retried):
    assert retried["failed"]["wrong"].startswith("ValueError")


def test_list_of_a_task_begins_with_its_latest_attempt(retried):
    assert retried["failed"]["default"][0] == "n2"


MERGED = """
    from metaflow import FlowSpec, checkpoint, current, step
    from notes import here, note, tree

    class Merged(FlowSpec):
        @step
        def start(self):
            self.next(self.left, self.right)

        @checkpoint(show_card=False)
        @step
        def left(self):
            here(current.checkpoint, state="left")
            self.left_one = current.checkpoint.save()
            self.next(self.join)

        @checkpoint(show_card=False)
        @step
        def right(self):
            here(current.checkpoint, state="right")
            self.right_one = current.checkpoint.save()
            self.next(self.join)

        @checkpoint(show_card=False)
        @step
        def join(self, inputs):
            self.merge_artifacts(inputs)
            for one in (self.left_one, self.right_one):
                current.checkpoint.load(one, one["name"] + one["pathspec"].split("/")[2])
            note(left=tree("mfchckptleft"), right=tree("mfchckptright"))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Merged()
"""


@once
def merged(project):
    project.write("flow.py", MERGED)
    project.run()
    return notes(project)


def test_merge_artifacts_works_after_checkpoints_in_branches(merged):
    assert merged["left"] == {"state": "left"}


def test_references_travel_as_artifacts(merged):
    assert merged["right"] == {"state": "right"}


WITH = """
    from metaflow import FlowSpec, current, step
    from notes import here, note, tree

    class With(FlowSpec):
        @step
        def start(self):
            c = current.checkpoint
            note(held=tree(c.directory), was_loaded=c.is_loaded)
            here(c, state="saved")
            c.save()
            self.next(self.end)

        @step
        def end(self):
            note(end_has_one=current.checkpoint.is_loaded)

    if __name__ == "__main__":
        With()
"""


@once
def with_it(project):
    project.write("flow.py", WITH)
    plain = project.run("--with", "checkpoint", ok=False)
    first = notes(project)
    eager = project.run("--with", "checkpoint:load_policy=eager", ok=False)
    hidden = project.run("--with", "checkpoint:show_card=False,load_policy=none", ok=False)
    return [plain, eager, hidden], first, notes(project)


def test_run_with_checkpoint_gives_each_step_one(with_it):  # bug 19
    ran, first, _ = with_it
    assert ran[0]["code"] == 0, ran[0]["text"]
    assert first == {"held": {}, "was_loaded": False, "end_has_one": False}


def test_options_may_come_from_the_command_line(with_it):  # bug 19
    ran, _, _ = with_it
    assert ran[1]["code"] == 0, ran[1]["text"]
    assert "Loading the following checkpoint" in ran[1]["text"]


def test_flags_may_come_from_the_command_line(with_it):  # bug 19
    ran, _, last = with_it
    assert ran[2]["code"] == 0, ran[2]["text"]
    assert last["was_loaded"] is False
