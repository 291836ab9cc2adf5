"""A flow may keep its checkpoints and models elsewhere, and nobody learns the secrets for it."""

from __future__ import annotations

import pytest

from tests.stories.world import notes, once, project_in

FLOW = """
    import os, subprocess, sys
    from pathlib import Path
    from metaflow import (
        FlowSpec, checkpoint, current, load_model, model, step, with_artifact_store)
    from notes import here, note, tree

    HERE = Path(__file__).parent

    @with_artifact_store(type="local", config={"root": str(HERE / "elsewhere")})
    class Elsewhere(FlowSpec):
        @checkpoint(show_card=False)
        @model
        @step
        def start(self):
            Path("payload").write_bytes(os.urandom(50_000))
            self.net = current.model.save("payload")
            self.ckpt = current.checkpoint.save("payload")
            child = "from metaflow import Checkpoint; Checkpoint().save('flow.py', name='child')"
            subprocess.run([sys.executable, "-c", child], check=True, timeout=60)
            note(ckpt=self.ckpt, net=self.net,
                 listed=sorted(r["name"] for r in current.checkpoint.list()))
            self.next(self.use)

        @model(load="net")
        @step
        def use(self):
            load_model(self.ckpt, "in flow")
            note(loaded=list(tree(current.model.loaded["net"])), in_flow=list(tree("in flow")))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Elsewhere()
"""

SECOND = """
    import os, subprocess, sys
    from pathlib import Path
    from metaflow import (
        FlowSpec, Parameter, Run, artifact_store_from, checkpoint, current, load_model, step,
        with_artifact_store)
    from notes import attempt, here, note, tree

    HERE = Path(__file__).parent

    @with_artifact_store(type="local", config=lambda: {"root": str(HERE / "third")})
    class Second(FlowSpec):
        other = Parameter("other")

        @checkpoint(show_card=False)
        @step
        def start(self):
            here(current.checkpoint, state="second")
            self.before = current.checkpoint.save()
            run = Run(self.other)
            with artifact_store_from(run=run):
                note(from_task=attempt(load_model, run["start"].task.data.net, "from task"))
            load_model(self.before, "own again")
            note(own_again=tree("own again"))
            note(own_listed=len(current.checkpoint.list()))
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Second()
"""

PLAIN = """
    from metaflow import FlowSpec, current, model, step

    class Plain(FlowSpec):
        @model
        @step
        def start(self):
            self.net = current.model.save("flow.py")
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Plain()
"""

SCRIPT = """
    from metaflow import Checkpoint, Flow, artifact_store_from, load_model
    from notes import attempt, note, tree

    first, second, plain = (Flow(f).latest_run for f in ("Elsewhere", "Second", "Plain"))
    net = first["start"].task.data.net
    saved = second["start"].task.data.before

    note(without=attempt(load_model, net, "no/without"))
    with artifact_store_from(run=first):
        load_model(net, "by run")
        note(by_run=list(tree("by run")),
             names=sorted(r["name"] for r in Checkpoint().list(task=first["start"].task)))
    with artifact_store_from(task=first["start"].task):
        load_model(net, "by task")
        note(by_task=list(tree("by task")))
    with artifact_store_from(first):
        load_model(net, "by position")
    with artifact_store_from(run=plain):
        note(of_plain=attempt(load_model, plain.data.net, "of plain"))
    note(after=attempt(load_model, plain.data.net, "after"))

    with artifact_store_from(run=first):
        with artifact_store_from(run=second):
            load_model(saved, "nested")
        note(outer_again=attempt(load_model, net, "outer again"))

    try:
        with artifact_store_from(run=first):
            raise RuntimeError("inside")
    except RuntimeError:
        pass
    note(after_exception=attempt(load_model, plain.data.net, "after exception"),
         other_after_exception=attempt(load_model, net, "other after exception"))

    def enter(**options):
        with artifact_store_from(**options):
            return "entered"

    note(neither=attempt(enter), both=attempt(enter, run=first, task=first["start"].task),
         config=attempt(enter, run=first, config={"client_params": {}}))
"""


def kept_in(project, folder):
    """Which files below a folder hold some of the payload's bytes."""
    needle = (project.folder / "payload").read_bytes()[:64]
    paths = (project.folder / folder).rglob("*")
    return [str(path) for path in paths if path.is_file() and needle in path.read_bytes()]


@once
def seen(project):
    project.write("flow.py", FLOW)
    project.write("second.py", SECOND)
    project.write("plain.py", PLAIN)
    project.write("script.py", SCRIPT)
    run = project.run().run_id
    kept = {folder: kept_in(project, folder) for folder in ("elsewhere", ".metaflow")}
    project.run(f"--other=Elsewhere/{run}", flow="second.py")
    project.run(flow="plain.py")
    done = project.python("script.py")
    assert done.returncode == 0, done.stdout
    return notes(project) | {"kept": kept}


def test_the_bytes_are_in_the_artifact_store(seen):
    assert seen["kept"]["elsewhere"]


def test_the_bytes_are_not_in_the_datastore(seen):
    assert seen["kept"][".metaflow"] == []


def test_the_task_lists_its_own(seen):
    assert seen["listed"] == ["child", "mfchckpt"]


def test_a_later_step_loads_from_the_artifact_store(seen):
    assert seen["loaded"] == seen["in_flow"] == ["payload"]


def test_outside_the_flow_the_reference_alone_does_not_find_it(seen):
    assert seen["without"].startswith(("KeyNotFound", "Model", "Checkpoint", "Metaflow"))


def test_a_run_tells_where_its_store_is(seen):
    assert seen["by_run"] == ["payload"]


def test_a_task_tells_where_its_store_is(seen):
    assert seen["by_task"] == ["payload"]


def test_list_works_within(seen):
    assert seen["names"] == ["child", "mfchckpt"]


def test_a_run_without_one_means_the_datastore(seen):
    assert seen["of_plain"] is None


def test_the_datastore_is_back_on_leaving(seen):
    assert seen["after"] is None


def test_the_datastore_is_back_after_an_exception(seen):
    assert seen["after_exception"] is None
    assert isinstance(seen["other_after_exception"], str)


def test_the_outer_store_is_back_on_leaving_the_inner(seen):  # better
    assert seen["outer_again"] is None


def test_a_task_can_load_from_another_runs_store(seen):
    assert seen["from_task"] is None


def test_the_flows_own_store_is_back_on_leaving(seen):  # better
    assert seen["own_again"] == {"state": "second"}
    assert seen["own_listed"] == 1


def test_neither_run_nor_task_is_a_value_error(seen):
    assert seen["neither"].startswith("ValueError")


def test_both_run_and_task_is_a_value_error(seen):
    assert seen["both"].startswith("ValueError")


def test_config_may_be_given_beside_the_run(seen):
    assert seen["config"] == "entered"


SECRET = "s3cr3t-b8f1e0c7"

HIDING = """
    import os, subprocess, sys
    from pathlib import Path
    from metaflow import FlowSpec, checkpoint, current, model, step, with_artifact_store
    from notes import attempt, here, note, tree

    HERE = Path(__file__).parent
    secret = (HERE / ".netrc").read_text()

    @with_artifact_store(type=os.environ.get("STORE", "local"), config=lambda: {
        "root": os.environ.get("ROOT") or str(HERE / "elsewhere"),
        "client_params": {"aws_access_key_id": "me", "aws_secret_access_key": secret},
    })
    class Hiding(FlowSpec):
        @checkpoint(show_card=False)
        @model
        @step
        def start(self):
            child = "import sys; sys.stdout.write(open('/proc/self/environ').read())"
            told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
            note(own=secret in "".join(os.environ.values()),
                 proc=secret in Path("/proc/self/environ").read_text(),
                 child=secret in told.stdout,
                 arguments=secret in Path("/proc/self/cmdline").read_text())
            if not os.environ.get("STORE"):
                here(current.checkpoint, state="x")
                current.checkpoint.save()
                current.model.save("notes.py")
            note(saved=True)
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Hiding()
"""


@once
def hiding(project):
    (project.folder / ".netrc").write_text(SECRET)
    project.write("flow.py", HIDING)
    ran = project.run(ok=False)
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    found = [path.name for path in files if SECRET.encode() in path.read_bytes()]
    return notes(project) | {"ran": ran, "found": found}


@pytest.mark.parametrize("where", ["own", "proc", "child", "arguments"])
def test_a_secret_of_the_config_is_in_no_environment(hiding, where):  # bug 13
    assert hiding[where] is False


def test_a_flow_with_a_secret_saves(hiding):  # bug 13
    assert hiding["ran"]["code"] == 0, hiding["ran"]["text"]
    assert hiding["saved"]


def test_a_secret_of_the_config_is_in_no_log(hiding):
    assert SECRET not in hiding["ran"]["text"]


def test_a_secret_of_the_config_is_in_no_file(hiding):
    assert hiding["found"] == [".netrc"]


WRONG = """
    from metaflow import FlowSpec, checkpoint, step, with_artifact_store

    @with_artifact_store({options})
    class Wrong(FlowSpec):
        @checkpoint
        @step
        def start(self):
            self.next(self.end)

        @step
        def end(self):
            pass

    if __name__ == "__main__":
        Wrong()
"""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("type='local', config={}", "root"),
        ("type='cupboard', config={'root': 'x'}", "cupboard"),
    ],
)
def test_a_store_that_cannot_be_stops_the_run_before_it_starts(tmp_path, options, named):  # better
    project = project_in(tmp_path)
    project.write("flow.py", WRONG.format(options=options))
    ran = project.run(ok=False)
    assert ran.code != 0
    assert ran.workers == []
    assert named in ran.text
    assert "Traceback" not in ran.text


def test_a_store_without_a_type_stops_the_run_before_it_starts(tmp_path):
    project = project_in(tmp_path)
    project.write("flow.py", WRONG.format(options="config={'root': 'x'}"))
    ran = project.run(ok=False)
    assert ran.code != 0
    assert ran.workers == []
    assert "type" in ran.text
