"""The tasks that a run would start, going by what an earlier run left."""

from __future__ import annotations

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
