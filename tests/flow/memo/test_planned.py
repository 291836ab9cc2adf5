"""The tasks that a run would start, going by what an earlier run left."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from memoflow.flow.host.flow_class import parameters_of
from memoflow.flow.memo import planned
from memoflow.flow.memo.inputs import UndecidedError


def tasks(host: Any) -> list[planned.PlannedTask]:
    return list(planned.planned_tasks(host.memoized(), host.session.context, "1"))


def test_a_step_has_a_task_after_each_task_that_went_on_to_it(host):
    host.left(task="1", x=1, _transition=(["fit"], None))
    host.left(task="2", x=2, _transition=(["end"], None))
    [found] = tasks(host)
    assert found.digest("x").summary == "1"


def test_a_run_that_never_came_to_the_step_tells_of_none(host):
    assert tasks(host) == []


def test_of_a_task_that_was_tried_again_the_latest_attempt_counts(host):
    host.left(x=1, _transition=(["fit"], None))
    again = host.datastore.get_task_datastore("1", "start", "1", attempt=1, mode="w")
    again.init_task()
    assert tasks(host) == []
    internal = {"_foreach_stack": [], "_iteration_stack": [], "_transition": (["fit"], None)}
    again.save_artifacts(iter((internal | {"x": 2}).items()))
    again.done()
    [found] = tasks(host)
    assert found.digest("x").summary == "2"


def test_too_many_tasks_before_a_step_are_told_by_their_listing(host):
    folder = Path(host.datastore.datastore_root, "Train", "1", "start")
    for task in range(1001):
        began = folder / str(task) / "0.attempt.json"
        began.parent.mkdir(parents=True)
        began.touch()
    with pytest.raises(UndecidedError, match="more than 1,000 tasks come before it"):
        tasks(host)


def test_tasks_are_opened_as_they_are_asked_for(host):
    for task in range(101):
        last = host.left(task=str(task), x=task, _transition=(["fit"], None))
    Path(host.datastore.datastore_root, "Train", last.pathspec, "0.data.json").write_text("torn")
    planned_tasks = planned.planned_tasks(host.memoized(), host.session.context, "1")
    assert len(list(islice(planned_tasks, 100))) == 100
    with pytest.raises(json.JSONDecodeError):
        next(planned_tasks)


def test_a_value_that_is_another_in_each_run_is_undecided(host):
    host.left(x=1, _transition=(["fit"], None))
    [found] = tasks(host)
    for name in ("current.run_id", "current.tags", "current.no_such"):
        with pytest.raises(UndecidedError, match="known in the run only"):
            found.digest(name)


def test_what_stays_the_same_is_that_of_this_process(host):
    host.left(x=1, _transition=(["fit"], None))
    [found] = tasks(host)
    assert "Train" in found.digest("current.flow_name").summary
    assert "fit" in found.digest("current.step_name").summary


@pytest.fixture
def ready(host) -> None:
    """Prepare the flow's parameters, as Metaflow does for a command of its."""
    for _, parameter in parameters_of(type(host.flow)):
        parameter.init()


@pytest.mark.usefixtures("ready")
def test_a_parameter_that_was_given_is_told_with_its_default(host):
    host.left(x=1, alpha=7, _transition=(["fit"], None))
    [found] = tasks(host)
    told = list(planned.unlike_defaults(host.memoized(), found, {"alpha"}))
    assert told == ["alpha is 7 there, and 1 by default"]


@pytest.mark.usefixtures("ready")
def test_a_parameter_at_its_default_is_not_told(host):
    host.left(x=1, alpha=1, _transition=(["fit"], None))
    [found] = tasks(host)
    assert list(planned.unlike_defaults(host.memoized(), found, {"alpha"})) == []


@pytest.mark.usefixtures("ready")
def test_a_parameter_that_the_step_does_not_read_is_not_told(host):
    host.left(x=1, alpha=7, _transition=(["fit"], None))
    [found] = tasks(host)
    assert list(planned.unlike_defaults(host.memoized(), found, {"x"})) == []


def test_a_config_of_this_process_stands_for_that_of_the_run(host):
    host.left(x=1, cfg={"k": 1}, _transition=(["fit"], None))
    [found] = tasks(host)
    before = found.digest("cfg")
    found.configs = {"cfg": {"k": 2}}
    assert found.digest("cfg").digest != before.digest
    assert found.digest("config cfg.k").summary == "2"
