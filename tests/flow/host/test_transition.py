"""Transition: where a step sent the flow on, kept as JSON and given back to Metaflow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from metaflow import FlowSpec

from memoflow.flow.host import transition
from memoflow.flow.host.flow_class import graph_of
from memoflow.masking import Mask
from tests.flow.host.conftest import World


def stepped(flow: type[FlowSpec], step: str, world: World, **attributes: Any) -> Any:
    """Return a flow that has run a step, of which Metaflow called `next`."""
    instance: Any = flow(use_cli=False)
    instance._set_datastore(world.writer(step))
    instance._current_step = step
    for name, value in attributes.items():
        setattr(instance, name, value)
    getattr(flow, step)(instance)
    return instance


def test_a_step_is_kept_as_json_and_given_back(world: World, flow: type[FlowSpec]) -> None:
    ran = stepped(flow, "fit", world)
    kept = transition.keep(ran, graph_of(flow)["fit"])
    assert json.loads(json.dumps(kept)) == kept
    hit: Any = flow(use_cli=False)
    transition.restore_on(hit, kept)
    assert hit._transition == ran._transition == (["score"], None)


def test_a_foreach_is_given_back_with_its_splits(world: World, flow: type[FlowSpec]) -> None:
    ran = stepped(flow, "start", world)
    kept = transition.keep(ran, graph_of(flow)["start"])
    hit: Any = flow(use_cli=False)
    transition.restore_on(hit, json.loads(json.dumps(kept)))
    for name in ("_transition", "_foreach_var", "_foreach_num_splits", "_foreach_values"):
        assert getattr(hit, name) == getattr(ran, name)


def test_the_items_of_a_foreach_over_passwords_are_not_kept(
    world: World, flow: type[FlowSpec]
) -> None:
    ran = stepped(flow, "start", world)
    kept = transition.keep(ran, graph_of(flow)["start"], Mask(frozenset(["rates"])))
    assert kept["_foreach_values"] is None
    assert kept["_foreach_num_splits"] == 2


def test_the_last_step_goes_nowhere(flow: type[FlowSpec]) -> None:
    ended: Any = flow(use_cli=False)
    kept = transition.keep(ended, graph_of(flow)["end"])
    assert transition.restore(kept)["_transition"] is None
    assert transition.fits(kept, graph_of(flow)["end"])
    assert not transition.fits(kept, graph_of(flow)["fit"])


def test_a_gang_is_given_back_by_its_size(flow: type[FlowSpec]) -> None:
    restored = transition.restore({"_transition": [["fit"], "_x"], "num_parallel": 3})
    assert restored["_parallel_ubf_iter"].num_parallel == 3


@pytest.mark.parametrize(
    ("step", "decided", "fits"),
    [
        ("start", [["fit"], "rates"], True),
        ("start", [["fit"], "others"], False),
        ("start", [["fit"], None], False),
        ("start", [["join"], "rates"], False),
        ("fit", [["score"], None], True),
        ("fit", [["score"], "rates"], False),
        ("fit", [[], None], False),
        ("fit", [["end"], None], False),
    ],
)
def test_only_what_the_graph_has_fits(
    flow: type[FlowSpec], step: str, decided: Any, fits: bool
) -> None:
    assert transition.fits({"_transition": decided}, graph_of(flow)[step]) is fits


def test_a_finished_task_tells_where_it_went_on(world: World) -> None:
    assert transition.next_steps(world.task("fit", _transition=(["score"], None))) == ["score"]
    assert transition.next_steps(world.task("end", _transition=None)) == []
    assert transition.next_steps(world.task("end", x=1)) == []
