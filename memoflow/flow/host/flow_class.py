"""Flow class: parameters, graph, configs and decorators of a flow before it runs a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metaflow.flowspec import FlowSpec, FlowStateItems
from metaflow.includefile import IncludeFile

from memoflow.flow.host.artifacts import INTERNAL

# What the metaclass of flows keeps on each for itself.
KEPT_ON_CLASS = frozenset(
    {"_configs_processed", "_flow_decorators", "_flow_state", "_graph", "_steps"}
)

# What every flow has, or no flow keeps.
NAMES_OF_FLOWSPEC = frozenset(dir(FlowSpec)) | frozenset(FlowSpec._NON_PARAMETERS) | INTERNAL


def parameters_of(flow: type) -> list[tuple[str, Any]]:
    """Return the parameters and configs of a flow, each with the attribute that it is."""
    known: Any = flow
    return list(known._get_parameters())


def parser_of(parameter: Any) -> Callable[..., Any] | None:
    """Return the function by which an IncludeFile parses its file, None if there is none."""
    if isinstance(parameter, IncludeFile) and callable(parameter._parser):
        parser: Callable[..., Any] = parameter._parser
        return parser
    return None


def graph_of(flow: type) -> Any:
    """Return the graph of a flow's steps."""
    known: Any = flow
    return known._graph


def configs_of(flow: type) -> dict[str, Any]:
    """Return the values of a flow's configs, as this process has loaded them."""
    known: Any = flow
    held = known._flow_state[FlowStateItems.CONFIGS]
    found = {}
    for name, parameter in parameters_of(flow):
        if parameter.IS_CONFIG_PARAMETER:
            value = held.get(parameter.name)
            found[name] = value[0] if isinstance(value, tuple) else value
    return {name: value for name, value in found.items() if value is not None}


def mutators_of(flow: type) -> list[Any]:
    """Return the flow mutators that are applied to a flow."""
    known: Any = flow
    return list(known._flow_state[FlowStateItems.FLOW_MUTATORS])


def code_of_decorator(decorator: Any) -> Any:
    """Return the code of a user's decorator: its class, or the generator function in one."""
    # @user_step_decorator wraps a generator function in a class of Metaflow's own.
    return getattr(decorator, "_generator", type(decorator))


def arguments_of_decorator(decorator: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a user's decorator: by position and by name."""
    return list(decorator._args), dict(decorator._kwargs)
