"""Rows of hits in Metaflow's metadata service are those of tasks that ran."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.service import Service, serving
from tests.stories import test_worker_decides, ui_status
from tests.stories.conftest import Project
from tests.stories.world import once, starts

SHAPES = """
    from metaflow import FlowSpec, Parameter, card, memoize, step

    class Shapes(FlowSpec):
        unused = Parameter("unused", default="a")

        @step
        def start(self):
            self.outer = ["a", "b"]
            self.next(self.split, foreach="outer")

        @memoize
        @step
        def split(self):
            self.letter = self.input
            self.inner = [1, 2]
            self.next(self.work, foreach="inner")

        @card
        @memoize
        @step
        def work(self):
            self.word = self.letter * self.input
            print("worked on", self.word)
            self.next(self.gather)

        @memoize
        @step
        def gather(self, inputs):
            self.words = sorted(one.word for one in inputs)
            self.next(self.join)

        @memoize
        @step
        def join(self, inputs):
            self.words = sorted(word for one in inputs for word in one.words)
            self.next(self.part)

        @memoize
        @step
        def part(self):
            self.next(self.left, self.right)

        @memoize
        @step
        def left(self):
            self.longest = max(self.words, key=len)
            self.next(self.merge)

        @memoize
        @step
        def right(self):
            self.count = len(self.words)
            self.next(self.merge)

        @memoize
        @step
        def merge(self, inputs):
            self.merge_artifacts(inputs)
            self.turns = 0
            self.next(self.loop)

        @memoize
        @step
        def loop(self):
            self.turns += 1
            self.onward = "again" if self.turns < 2 else "even" if self.turns % 2 == 0 else "odd"
            self.next({"again": self.loop, "even": self.even, "odd": self.odd}, condition="onward")

        @memoize
        @step
        def even(self):
            self.kind = "even"
            self.next(self.end)

        @memoize
        @step
        def odd(self):
            self.kind = "odd"
            self.next(self.end)

        @memoize
        @step
        def end(self):
            self.answer = (self.words, self.longest, self.count, self.turns, self.kind)

    if __name__ == "__main__":
        Shapes()
"""

# Of each task of a run what the Client tells, under names that are the same in every run: the step
# and the place among its tasks.
CLIENT = """
    def untagged(tags):
        return sorted(tag for tag in tags if not tag.startswith("memo:"))  # Of hits and tasks.

    def place(task):
        return [frame.index for frame in task["_foreach_stack"].data or ()], int(task.id)

    def facts(run):
        steps = [step for step in run if step.id != "_parameters"]
        names = {
            task.pathspec: f"{step.id}.{number}"
            for step in steps
            for number, task in enumerate(sorted(step, key=place))
        }
        return {
            names[task.pathspec]: {
                "pathspec": task.pathspec,
                "successful": task.successful,
                "finished": task.finished,
                "finished_at": task.finished_at is not None and task.finished_at >= task.created_at,
                "exception": task.exception,
                "current_attempt": task.current_attempt,
                "metadata": {m.name: [m.value, m.type] for m in task.metadata},
                "artifacts": {a.id: [a.size > 0, a._object["type"]] for a in task},
                "data": {a.id: repr(a.data) for a in task.artifacts},
                "parents": sorted(names[t.pathspec] for t in task.parent_tasks),
                "children": sorted(names[t.pathspec] for t in task.child_tasks),
                "index": task.index,
                "tags": untagged(task.tags),
                "runtime_name": task.runtime_name,
                "environment_info": repr(task.environment_info),
                "code": task.code is not None,
                "stdout": task.stdout,
                "stderr": task.stderr,
                "origin": task.origin_pathspec,
            }
            for step in steps
            for task in step
        }

    def about(run):
        return {
            "successful": run.successful,
            "finished": run.finished,
            "finished_at": run.finished_at is not None,
            "end_task": run.end_task.path_components[2],
            "data": repr(getattr(run.data, "answer", None)),
            "tags": untagged(run.user_tags),
            "code": run.code is not None,
            "origin": run.origin_pathspec,
            "steps": sorted(step.id for step in run),
        }

    answer = [{"run": about(Run(name)), "tasks": facts(Run(name))} for name in RUNS]
"""


def asked_by_a_stranger(project: Project, *runs: str) -> Any:
    """Return the Client's view of runs for a user who has none and shares the service."""
    owner = {name: project.env[name] for name in ("METAFLOW_USER", "METAFLOW_HOME")}
    home = str(project.folder / "home-of-another")
    project.env |= {"METAFLOW_USER": "stranger", "METAFLOW_HOME": home}
    try:
        return project.ask(f"    RUNS = {runs}\n{CLIENT}")
    finally:
        project.env |= owner


def commands(project: Project, *lines: str) -> list[str]:
    """Return the output of commands of the flow, each in a process of its own."""
    ran = starts(project, *(["flow.py", *line.split()] for line in lines))
    assert all(each.code == 0 for each in ran), [each.text for each in ran]
    return [each.text for each in ran]


def dumped(project: Project, task: str) -> str:
    # Not by a fork: there `__main__` is not the flow, whose classes it unpickles.
    return project.python("flow.py", "--no-pylint", "dump", "--private", task).stdout


def requests_of_tasks(service: Service, run: str) -> dict[str, int]:
    """Return the number of requests that each task of a run cost, its creation included."""
    count: Counter[str] = Counter()
    path = f"/flows/Shapes/runs/{run.partition('/')[2]}/steps/"
    for exchange in service.exchanges:
        if exchange.method != "POST" or exchange.path.endswith("/heartbeat"):
            continue
        if found := re.match(rf"{path}(\w+)/task(?:s/(\w+))?", exchange.path):
            count[f"{run}/{found[1]}/{found[2] or exchange.answer['task_id']}"] += 1
    return dict(count)


@once
def world(project: Project) -> dict[str, Any]:
    project.write("flow.py", SHAPES)
    with serving() as service:
        service.is_recording = True
        project.env |= service.environment()
        project.env["METAFLOW_FEAT_ALWAYS_UPLOAD_CODE_PACKAGE"] = "1"
        ran = project.run("--tag=same")
        hits = project.run("--tag=same")
        continued = project.run("resume", "--origin-run-id", ran.run_id, "loop", "--memo=off")
        resumed = project.run("resume", "--origin-run-id", hits.run_id, "loop")
        names = {"ran": ran, "hits": hits, "continued": continued, "resumed": resumed}
        runs = {name: f"Shapes/{each.run_id}" for name, each in names.items()}
        views = dict(zip(runs, asked_by_a_stranger(project, *runs.values()), strict=True))
        of_ran, of_hit = (
            views[name]["tasks"]["work.0"]["pathspec"].partition("/")[2] for name in ("ran", "hits")
        )
        texts = commands(
            project,
            f"logs {of_hit}",
            f"card list {of_hit}",
            f"card get {of_ran} --type=default ran.html",
            f"card get {of_hit} --type=default hit.html",
            f"tag add --run-id {hits.run_id} kept",
            f"tag list --run-id {hits.run_id}",
        )
        return {
            "workers": {name: each.workers for name, each in names.items()},
            "views": views,
            "texts": texts,
            "dumps": [dumped(project, of_ran), dumped(project, of_hit)],
            "cards": [
                project.folder.joinpath(f"{name}.html").read_text() for name in ("ran", "hit")
            ],
            "tagged": project.ask(
                f"    answer = sorted(Run({runs['hits']!r})['end'].task.user_tags)"
            ),
            "statuses": {
                task["pathspec"]: ui_status.of_task(service, task["pathspec"])
                for view in views.values()
                for task in view["tasks"].values()
            },
            "requests": {name: requests_of_tasks(service, run) for name, run in runs.items()},
        }


@once
def in_workers(project: Project) -> dict[str, Any]:
    """Two runs of a step whose inputs only workers can load, so that they decide."""
    project.write("flow.py", test_worker_decides.FLOW)
    project.write("only_in_worker.py", test_worker_decides.ONLY_IN_WORKER)
    with serving() as service:
        project.env |= service.environment()
        ran = project.run()
        (index,) = (project.folder / ".cache").rglob("*.sqlite")
        for path in index.parent.glob(index.name + "*"):
            path.unlink()  # Else the scheduler remembers the digests that the workers found.
        hits = project.run()
        assert len(hits.hits) == hits.workers.count("work") == 2, hits.text
        project.write("only_in_worker.py", "class Thing:\n    pass\n")  # For the Client to load.
        runs = {"ran": f"F/{ran.run_id}", "hits": f"F/{hits.run_id}"}
        return {"views": dict(zip(runs, asked_by_a_stranger(project, *runs.values()), strict=True))}


# Equal for a task that ran and its hit; the rest of a task's view has tests of its own.
FIELDS = (
    "successful",
    "finished",
    "finished_at",
    "exception",
    "current_attempt",
    "metadata",
    "artifacts",
    "data",
    "parents",
    "children",
    "index",
    "tags",
    "runtime_name",
    "stderr",
)
RESUMED_AT = {"loop", "even", "end"}
MEMOIZED = RESUMED_AT | {"split", "work", "gather", "join", "part", "left", "right", "merge"}
OF_RUN = ("successful", "finished", "finished_at", "end_task", "data", "steps", "tags")


def tasks(world: dict[str, Any], run: str, steps: set[str] = MEMOIZED) -> dict[str, Any]:
    """Return the views of tasks of a run by name, without the metadata that is memoflow's own."""
    found = world["views"][run]["tasks"]
    return {
        name: view | {"metadata": shared(view["metadata"])}
        for name, view in found.items()
        if name.partition(".")[0] in steps
    }


def shared(metadata: dict[str, list[str]]) -> dict[str, list[str]]:
    """Leave out fields of memoflow, the origin, addresses, and rows on cards and code.

    Nothing of Metaflow's reads the rows on cards. The code package has a test of its own.
    """
    return {
        name: [re.sub("x[0-9a-f]{6,}", "", value), type]
        for name, (value, type) in metadata.items()
        if not name.startswith(("memo-", "origin-")) and type not in ("card-info", "code-package")
    }


def test_all_memoized_steps_are_hits(world):
    assert world["workers"]["hits"] == ["start"]
    assert world["workers"]["resumed"] == []
    assert {name.partition(".")[0] for name in tasks(world, "hits")} == MEMOIZED


@pytest.mark.parametrize("field", FIELDS)
def test_to_the_client_a_hit_is_a_task_that_ran(world, field):
    ran, hits = tasks(world, "ran"), tasks(world, "hits")
    assert {name: hit[field] for name, hit in hits.items()} == {
        name: task[field] for name, task in ran.items()
    }


@pytest.mark.parametrize("field", FIELDS)
def test_in_a_resumed_run_too_a_hit_is_a_task_that_ran(world, field):
    ran, hits = (tasks(world, run, RESUMED_AT) for run in ("continued", "resumed"))
    assert {name: hit[field] for name, hit in hits.items()} == {
        name: task[field] for name, task in ran.items()
    }


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "tags"])
def test_the_clone_of_a_hit_is_that_of_a_task_that_ran(world, field):
    ran, hits = (tasks(world, run, MEMOIZED - RESUMED_AT) for run in ("continued", "resumed"))
    assert {name: hit[field] for name, hit in hits.items()} == {
        name: task[field] for name, task in ran.items()
    }


@pytest.mark.parametrize("field", [field for field in FIELDS if field != "data"])
def test_a_hit_that_its_worker_finds_is_a_task_that_ran(in_workers, field):
    ran, hits = (tasks(in_workers, run, {"work"}) for run in ("ran", "hits"))
    assert {name: hit[field] for name, hit in hits.items()} == {
        name: task[field] for name, task in ran.items()
    }


def test_a_hit_that_its_worker_finds_has_the_value_of_the_task_that_ran(in_workers):
    ran, hits = (tasks(in_workers, run, {"work"}) for run in ("ran", "hits"))
    for view in (ran, hits):
        assert [view[name]["data"]["value"] for name in ("work.0", "work.1")] == ["6", "7"]


@pytest.mark.parametrize("field", ["code", "environment_info"])
def test_a_hit_has_the_code_package_of_its_run(world, field):
    ran, hits = tasks(world, "ran"), tasks(world, "hits")
    assert [hit[field] for hit in hits.values()] == [task[field] for task in ran.values()]
    assert all(hit["code"] for hit in hits.values())


@pytest.mark.parametrize(
    "field", ["successful", "finished", "finished_at", "end_task", "data", "code", "steps", "tags"]
)
def test_a_run_of_hits_is_one_that_ran(world, field):
    assert world["views"]["hits"]["run"][field] == world["views"]["ran"]["run"][field]


@pytest.mark.parametrize(
    "field", ["successful", "finished", "finished_at", "end_task", "data", "steps", "tags"]
)
def test_a_resumed_run_with_hits_is_one_that_ran(world, field):
    assert world["views"]["resumed"]["run"][field] == world["views"]["continued"]["run"][field]


def test_a_hit_of_a_resumed_run_names_the_run_that_it_continues(world):
    hits = world["views"]["resumed"]["tasks"]
    origin = world["views"]["hits"]["tasks"]["end.0"]["pathspec"].split("/")[1]
    for name in ("loop.0", "loop.1", "even.0", "end.0"):
        assert hits[name]["metadata"]["origin-run-id"] == [origin, "origin-run-id"]


def test_a_resumed_run_with_hits_has_its_origin(world):
    origin = world["views"]["hits"]["tasks"]["end.0"]["pathspec"].split("/")[1]
    assert world["views"]["resumed"]["run"]["origin"] == f"Shapes/{origin}"


def test_clones_in_a_resumed_run_with_hits_have_their_origin(world):
    clones, origins = (world["views"][name]["tasks"] for name in ("resumed", "hits"))
    for name in ("start.0", "split.1", "work.3", "merge.0"):
        assert clones[name]["origin"] == origins[name]["pathspec"]


def test_a_hit_itself_has_no_task_as_its_origin(world):
    hits = world["views"]["resumed"]["tasks"]
    for name in ("loop.0", "loop.1", "even.0", "end.0"):
        assert "origin-task-id" not in hits[name]["metadata"]
        assert hits[name]["origin"] is None


def test_the_log_of_a_hit_names_the_task_that_ran(world):
    origin = world["views"]["ran"]["tasks"]["work.0"]["pathspec"]
    assert f"[memoize] hit: {origin}," in world["views"]["hits"]["tasks"]["work.0"]["stdout"]
    assert f"[memoize] hit: {origin}," in world["texts"][0]


def test_dump_shows_of_a_hit_what_it_shows_of_a_task_that_ran(world):
    ran, hit = (text[text.index("\n_configs") :] for text in world["dumps"])
    assert "word [size: 16 type: <class 'str'>] = a\n" in hit
    assert hit == ran


def test_a_hit_has_the_cards_of_a_task_that_ran(world):
    listed = re.findall(r"Card Type: (\w+)", world["texts"][1])
    assert listed == ["default"]
    ran, hit = world["cards"]
    assert hit == ran


def test_a_tag_of_the_run_is_one_of_its_hits(world):
    assert "kept" in world["texts"][5].split()
    assert sorted(world["tagged"]) == ["kept", "memo:17/17", "memo:all", "same"]


@pytest.mark.parametrize("run", ["ran", "hits", "continued", "resumed"])
def test_the_ui_shows_each_task_completed_at_its_first_attempt(world, run):
    for view in world["views"][run]["tasks"].values():
        (status,) = world["statuses"][view["pathspec"]]
        assert (status["attempt"], status["status"]) == (0, "completed")
        assert status["duration_ms"] >= 0
        assert status["finished_at"] is not None


def test_a_hit_costs_the_service_no_more_requests_than_a_clone(world):
    hits = {view["pathspec"] for view in tasks(world, "hits").values()}
    clones = {
        view["pathspec"]
        for name, view in world["views"]["resumed"]["tasks"].items()
        if name.partition(".")[0] not in RESUMED_AT
    }
    of_hits = {world["requests"]["hits"][each] for each in hits}
    of_clones = {world["requests"]["resumed"][each] for each in clones}
    assert max(of_hits) <= min(of_clones)
