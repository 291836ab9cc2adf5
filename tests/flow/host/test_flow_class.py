"""A flow's class: its parameters, graph, configs and decorators, as Metaflow keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from metaflow import Config, FlowMutator, FlowSpec, IncludeFile, Parameter, step
from metaflow.user_configs.config_parameters import ConfigValue
from metaflow.user_decorators.user_step_decorator import user_step_decorator

from memoflow.flow.host import flow_class


@user_step_decorator
def noisy(step_name: str, flow: Any, inputs: Any = None, attributes: Any = None) -> Any:
    yield


class Quiet(FlowMutator):
    pass


@Quiet()
class Configured(FlowSpec):
    settings = Config("settings", default_value='{"k": 1}')
    alpha = Parameter("alpha", default=1)
    table = IncludeFile("table", default="table.csv")
    limit = 3

    @noisy
    @step
    def start(self) -> None:
        self.next(self.end)

    @step
    def end(self) -> None:
        pass


def test_parameters_and_configs_are_found_and_constants_not() -> None:
    found = dict(flow_class.parameters_of(Configured))
    assert set(found) == {"settings", "alpha", "table"}
    assert found["settings"].IS_CONFIG_PARAMETER
    assert not found["alpha"].IS_CONFIG_PARAMETER


def test_the_graph_is_that_of_the_steps(flow: type[FlowSpec]) -> None:
    graph = flow_class.graph_of(flow)
    assert set(graph.nodes) == {"start", "fit", "score", "join", "end"}
    assert graph["start"].type == "foreach"


def test_only_an_included_file_with_a_parser_has_one() -> None:
    named = IncludeFile("a", default="a", parser=str.upper)
    assert flow_class.parser_of(named) is str.upper
    assert flow_class.parser_of(IncludeFile("b", default="b")) is None
    assert flow_class.parser_of(Parameter("c", default=1)) is None


def test_a_config_is_found_as_a_task_would(monkeypatch: pytest.MonkeyPatch) -> None:
    from metaflow.flowspec import FlowStateItems

    held = Configured._flow_state[FlowStateItems.CONFIGS]
    monkeypatch.setitem(held, "settings", (ConfigValue({"k": 1}), False))
    assert flow_class.configs_of(Configured) == {"settings": ConfigValue({"k": 1})}


def test_mutators_of_a_flow_are_known() -> None:
    assert [type(each) for each in flow_class.mutators_of(Configured)] == [Quiet]


def test_a_users_decorator_is_known_by_its_generator_and_arguments() -> None:
    (deco,) = Configured.start.wrappers
    code = flow_class.code_of_decorator(deco)
    assert code.__name__ == "noisy"
    assert flow_class.arguments_of_decorator(deco) == ([], {})


def test_a_decorator_that_is_a_class_is_its_own_code() -> None:
    (mutator,) = flow_class.mutators_of(Configured)
    assert flow_class.code_of_decorator(mutator) is Quiet
    assert flow_class.arguments_of_decorator(mutator) == ([], {})


def test_what_the_metaclass_keeps_on_a_flow_is_all_known(flow: type[FlowSpec]) -> None:
    kept = {name for name in vars(flow) if name.startswith("_") and not name.startswith("__")}
    assert kept - flow_class.KEPT_ON_CLASS - {"_abc_impl"} == set()


def test_every_name_of_a_bare_flow_is_known(flow: type[FlowSpec]) -> None:
    own = {"alpha", "limit", "start", "fit", "score", "join", "end"}
    names = {name for name in dir(flow) if not name.startswith("__")}
    assert names - flow_class.NAMES_OF_FLOWSPEC == own | ({"_abc_impl"} & names)
