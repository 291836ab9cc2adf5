"""Reads through the Client: each is noted under a name that a lookup answers alike."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from metaflow import (
    DataArtifact,
    Flow,
    Metaflow,
    Run,
    Step,
    Task,
    get_metadata,
    get_namespace,
    metadata,
    namespace,
)
from metaflow.client import core
from metaflow.events import Trigger
from metaflow.exception import MetaflowNamespaceMismatch, MetaflowNotFound
from metaflow.metaflow_current import current

from memoflow.flow.memo import client_digests, client_names
from memoflow.flow.memo.client_lookup import Evaluator
from memoflow.flow.memo.client_reads import OWN_RUN, watching
from tests.flow.memo.runs import Runs, looking_at

Reads = dict[str, tuple[str, str]]


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    with looking_at(tmp_path) as found:
        yield found


def reads_of(step: Callable[[], Any]) -> Reads:
    """Return what a step reads, by name, if it reads nothing that nobody can tell."""
    noted, never = watched(step)
    assert never == []
    return noted


def watched(step: Callable[[], Any]) -> tuple[Reads, list[tuple[str, str]]]:
    noted: Reads = {}
    never: list[tuple[str, str]] = []
    before = core.current_namespace
    with watching(
        lambda name, digest, summary: noted.update({name: (digest, summary)}),
        lambda name, reason: never.append((name, reason)),
    ):
        try:
            step()
        finally:
            core.current_namespace = before
    return noted, never


def now(names: Any) -> Reads:
    evaluator = Evaluator()
    return {name: evaluator.evaluate(name) for name in names}


def attempt(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except (MetaflowNotFound, MetaflowNamespaceMismatch, KeyError, AttributeError) as error:
        return type(error).__name__


def latest() -> Any:
    return Flow("Train").latest_successful_run


STEPS: dict[str, Callable[[], Any]] = {
    "artifact": lambda: latest().data.v,
    "artifact by keys": lambda: latest()["end"].task["v"].data,
    "artifact of the flow's run": lambda: Flow("Train")[latest().id]["end"].task.data.v,
    "artifacts": lambda: latest().end_task.artifacts.v.data,
    "artifact's sha": lambda: latest().end_task["v"].sha,
    "artifact's size": lambda: latest().end_task["v"].size,
    "artifact's time": lambda: latest().end_task["v"].created_at,
    "missing artifact": lambda: attempt(lambda: latest().data.nope),
    "artifact in": lambda: "v" in latest().data,
    "artifact not in": lambda: "nope" in latest().data,
    "names of artifacts": lambda: dir(latest().data),
    "text of artifacts": lambda: str(latest().data),
    "latest run": lambda: Flow("Train").latest_run.successful,
    "none": lambda: Flow("Train").latest_run.end_task,
    "exists": lambda: Flow("Train"),
    "no flow": lambda: attempt(lambda: Flow("Nope")),
    "no run": lambda: attempt(lambda: Run("Train/7")),
    "no step": lambda: attempt(lambda: latest()["nope"]),
    "step in": lambda: "fit" in latest(),
    "step not in": lambda: "nope" in latest(),
    "id": lambda: latest().id,
    "text": lambda: f"{latest()}",
    "text of a task": lambda: str(latest().end_task),
    "pathspec": lambda: latest().end_task.pathspec,
    "path": lambda: latest().path_components,
    "pickled": lambda: pickle.dumps(latest()),
    "copied": lambda: copy.copy(latest()).data.v,
    "times": lambda: (latest().created_at, latest().finished_at, latest().end_task.finished_at),
    "tags": lambda: (latest().tags, latest().user_tags, latest().system_tags),
    "metadata": lambda: latest().end_task.metadata,
    "metadata by name": lambda: latest().end_task.metadata_dict["note"],
    "logs": lambda: (latest().end_task.stdout, latest().end_task.stderr_size),
    "lines of a log": lambda: list(latest().end_task.loglines("stdout")),
    "code": lambda: latest().code,
    "exception": lambda: latest().end_task.exception,
    "finished": lambda: (latest().finished, latest().end_task.finished),
    "parent": lambda: latest().end_task.parent.parent.data.v,
    "origin": lambda: latest().origin_pathspec,
    "index": lambda: latest()["fit"].task.index,
    "runtime": lambda: latest()["fit"].task.runtime_name,
    "loop over runs": lambda: [run.data.v for run in Flow("Train") if run.successful],
    "loop that ends": lambda: next(run for run in Flow("Train") if run.successful).data.v,
    "runs with a tag": lambda: [run.data.v for run in Flow("Train").runs("prod")],
    "how many": lambda: len(list(Flow("Train").runs())),
    "steps": lambda: [step.id for step in latest()],
    "steps by method": lambda: [step.task for step in latest().steps()],
    "tasks": lambda: sum(task.data.score for task in latest()["fit"]),
    "tasks of all": lambda: [t.data.score for r in Flow("Train").runs("prod") for t in r["fit"]],
    "artifacts in a loop": lambda: {each.id: each.data for each in latest().end_task},
    "flows": lambda: [flow.id for flow in Metaflow()],
    "list of flows": lambda: [flow.latest_run.id for flow in Metaflow().flows],
    "flow by key": lambda: Metaflow()["Train"].latest_run.id,
    "no flow by key": lambda: attempt(lambda: Metaflow()["Nope"]),
    "fixed run": lambda: Run(f"Train/{FIXED[0]}").data.v,
    "fixed step": lambda: Step(f"Train/{FIXED[0]}/fit").task.data.score,
    "fixed task": lambda: Task(f"Train/{FIXED[0]}/end/4")["v"].data,
    "fixed artifact": lambda: DataArtifact(f"Train/{FIXED[0]}/end/4/v").data,
    "attempt": lambda: Task(f"Train/{FIXED[0]}/end/4", attempt=0)["v"].data,
    "other namespace": lambda: (namespace("user:ann"), latest().data.v),
    "no namespace": lambda: (namespace(None), [run.id for run in Flow("Train")]),
    "not in the namespace": lambda: attempt(lambda: Run(f"Train/{FIXED[1]}")),
    "namespace": get_namespace,
    "in namespace": lambda: latest().is_in_namespace(),
}
FIXED: list[str] = []


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    with looking_at(root) as runs:
        runs.add(v=1, fits=(1, 2))
        first = runs.add(v=2, fits=(3, 4), tags=("prod",))
        theirs = runs.add(v=3, namespace="user:ann")
        runs.add(v=4, fits=(5, 6), tags=("prod",))
        runs.add(ok=None)
    FIXED[:] = [first, theirs]
    return root


@pytest.fixture
def shared(template: Path) -> Iterator[None]:
    """Look at runs that no test changes."""
    with looking_at(template):
        yield


@pytest.fixture
def train(template: Path, tmp_path: Path) -> Iterator[Runs]:
    """Look at runs of the test's own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    with looking_at(tmp_path) as found:
        yield found


@pytest.mark.parametrize("case", STEPS)
def test_a_lookup_sees_what_the_step_saw(shared: None, case: str) -> None:
    noted = reads_of(STEPS[case])
    assert noted
    assert now(noted) == noted


@pytest.mark.parametrize("case", STEPS)
def test_a_name_is_read_back_as_it_was_written(shared: None, case: str) -> None:
    for name in reads_of(STEPS[case]):
        if name != "get_namespace()":
            assert str(client_names.parse(name)) == name


@pytest.mark.parametrize("case", STEPS)
def test_the_step_gets_the_same_as_without_the_watch(shared: None, case: str) -> None:
    kept: list[Any] = []
    reads_of(lambda: kept.append(STEPS[case]()))
    before = core.current_namespace
    plain = STEPS[case]()
    core.current_namespace = before
    assert repr(kept[0]) == repr(plain)


def test_names_are_short(train: Runs) -> None:
    def step() -> None:
        run = Flow("Train").latest_successful_run
        print(run, run.data.v, run["fit"].task.data.score)

    assert sorted(reads_of(step)) == [
        "Train/latest_successful_run",
        "Train/latest_successful_run.data.v",
        "Train/latest_successful_run/fit.task.data.score",
    ]


def test_a_new_run_that_left_the_same_changes_nothing(train: Runs) -> None:
    noted = reads_of(lambda: latest().data.v)
    train.add(v=4)
    assert {digest for digest, _ in now(noted).values()} == {digest for digest, _ in noted.values()}


def test_a_new_run_that_left_something_else_is_seen_under_its_id(train: Runs) -> None:
    noted = reads_of(lambda: latest().data.v)
    run = train.add(v=5)
    (name, (digest, summary)), *_ = now(noted).items()
    assert digest != noted[name][0]
    assert summary == run


def test_which_run_it_was_changes_with_a_new_run(train: Runs) -> None:
    noted = reads_of(lambda: print(latest()))
    old = noted["Train/latest_successful_run"]
    new = train.add(v=4)
    assert (old[1], now(noted)["Train/latest_successful_run"][1]) == (
        next(run.id for run in list(Flow("Train").runs("prod"))),
        new,
    )


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("loop over runs", {"v": 9}),
        ("runs with a tag", {"v": 9, "tags": ("prod",)}),
        ("how many", {"v": 4}),
        ("latest run", {"v": 4}),
        ("flows", {"flow": "Other"}),
        ("no flow", {"flow": "Nope"}),
        ("tasks", {"fits": (1, 9)}),
        ("tags", {"tags": ("new",)}),
        ("times", {"v": 4}),
        ("none", {"v": 4}),
        ("names of artifacts", {"v": 4, "w": 1}),
        ("artifact not in", {"nope": 4}),
        ("step in", {"v": 4}),
        ("other namespace", {"v": 4, "namespace": "user:ann"}),
        ("no namespace", {"namespace": "user:bob"}),
    ],
)
def test_what_a_step_read_changes(train: Runs, case: str, change: dict[str, Any]) -> None:
    noted = reads_of(STEPS[case])
    train.add(**change)
    assert now(noted) != noted


@pytest.mark.parametrize("case", ["runs with a tag", "fixed run", "artifact", "no step", "tasks"])
def test_what_a_step_did_not_read_does_not(train: Runs, case: str) -> None:
    noted = reads_of(STEPS[case])
    train.add(v=9, namespace="user:bob")
    train.add(flow="Other")
    assert now(noted) == noted


def test_that_something_was_there_is_a_read(train: Runs) -> None:
    assert reads_of(STEPS["exists"]) == {"existence of Train": ("there", "there")}


def test_a_run_that_is_gone_is_absent(train: Runs) -> None:
    noted = reads_of(STEPS["fixed run"])
    (train.data / "Train" / FIXED[0]).rename(train.root / "gone")
    assert set(now(noted).values()) == {("absent", "absent")}


def test_a_walk_over_many_runs_is_one_read(runs: Runs) -> None:
    for value in range(12):
        runs.add(v=value, fits=(1, 2))

    def step() -> None:
        for run in Flow("Train"):
            print(run.data.v, [task.data.score for task in run["fit"]])

    noted = reads_of(step)
    assert set(noted) == {
        "Train/*",
        "Train/*[:12].data.v",
        "Train/*[:12]/fit/*",
        "Train/*[:12]/fit/*[:2].data.score",
    }
    assert now(noted) == noted


def test_objects_made_before_the_watch_have_names_by_their_ids(train: Runs) -> None:
    run = latest()
    assert list(reads_of(lambda: run.data.v)) == [f"Train/{run.id}.data.v"]


def test_threads_of_the_step_are_watched(train: Runs) -> None:
    def step() -> None:
        thread = threading.Thread(target=STEPS["artifact"])
        thread.start()
        thread.join()

    assert reads_of(step) == reads_of(STEPS["artifact"])


def test_a_forked_child_notes_at_once(train: Runs) -> None:
    reading, writing = os.pipe()
    with watching(lambda name, *_: os.write(writing, f"{name};".encode()) and None, print):
        child = os.fork()
        if child == 0:
            for run in Flow("Train").runs("prod"):
                run.data.v  # noqa: B018
            os._exit(0)
        os.waitpid(child, 0)
    noted = os.read(reading, 1000).decode().split(";")[:-1]
    assert "Train.runs('prod')[0].data.v" in noted
    assert "Train.runs('prod')" in noted


def test_what_changes_while_the_step_runs_is_noted_as_it_was_at_first(train: Runs) -> None:
    def step() -> None:
        latest().data.v  # noqa: B018
        train.add(v=50)
        latest().data.v  # noqa: B018

    noted = reads_of(step)
    assert now(noted) != noted


def test_nothing_is_asked_of_a_server_before_the_step_does(
    train: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "metadata", None)
    monkeypatch.setattr(core, "current_metadata", False)
    assert reads_of(lambda: None) == {}


def test_its_own_run_is_another_one_each_time(train: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    own = latest().id
    monkeypatch.setattr(current, "_flow_name", "Train")
    monkeypatch.setattr(current, "_run_id", own)
    for step in (
        lambda: Run(f"Train/{own}").data.v,
        lambda: latest().data.v,
        lambda: list(Flow("Train")),
        lambda: Task(f"Train/{own}/end/4"),
    ):
        assert watched(step)[1] == [("Client", OWN_RUN)]
    assert watched(lambda: list(Flow("Train").runs("nope")))[1] == []


def test_another_user_asks_in_a_namespace_of_ones_own(
    train: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = reads_of(STEPS["artifact"])
    monkeypatch.setattr(core, "current_namespace", "user:ann")
    assert now(noted) != noted


def test_another_place_is_in_the_name(train: Runs, tmp_path: Path) -> None:
    with looking_at(tmp_path / "other") as other:
        other.add(v=70)
    home = get_metadata()

    def step() -> None:
        metadata(f"local@{other.root}")
        assert latest().data.v == 70
        metadata(home)

    noted = reads_of(step)
    assert list(noted) == [f"Train/latest_successful_run.data.v at local@{other.root}"]
    assert now(noted) == noted
    assert get_metadata() == home


def test_an_exception_is_known_by_its_bytes(train: Runs) -> None:
    train.add(_exception=ValueError("a"), ok=False)
    noted = reads_of(lambda: Flow("Train").latest_run.end_task.exception)
    assert now(noted) == noted
    train.add(_exception=ValueError("b"), ok=False)
    assert now(noted) != noted


def test_what_triggered_a_run_is_known_by_its_events() -> None:
    def seen(id: str) -> tuple[str, str]:
        return client_digests.of_value(
            Trigger([{"type": "event", "name": "e", "id": id, "timestamp": 1}])
        )

    assert seen("1") == seen("1")
    assert seen("1") != seen("2")


def test_names_with_other_letters(runs: Runs) -> None:
    for text in ("Train['argo-a.b-x'].data.v", 'Train/17["a\'b"]', "Train['latest_run']"):
        assert str(client_names.parse(text)) == text


@pytest.mark.parametrize("text", ["", "Train.", "Train/17)", "existence of "])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        client_names.parse(text)


def test_nothing_is_left_on_the_classes(train: Runs) -> None:
    before = {name: dict(vars(getattr(core, name))) for name in ("MetaflowObject", "Metaflow")}
    code = get_namespace.__code__
    reads_of(STEPS["artifact"])
    for name, held in before.items():
        assert dict(vars(getattr(core, name))) == held
    assert get_namespace.__code__ is code
