"""Client: facts about `current` and the Client's objects, without the reads noted of a step.

A step's reads of public attributes are tracked, so memoflow's own questions go around them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from metaflow.client import core
from metaflow.client.core import DataArtifact
from metaflow.metaflow_current import current
from metaflow.util import resolve_identity

# For an object that is found whatever namespace is in force.
WITHOUT_NAMESPACE = {"_namespace_check": False}


def kind_of(one: Any) -> str:
    """Return "flow", "run", "step", "task" or "artifact"."""
    kind: str = one._NAME
    return kind


def graph_of(parameters: Any) -> dict[str, Any]:
    """Return the graph of a run as Metaflow kept it, given the run's task of parameters."""
    graph: dict[str, Any] = parameters["_graph_info"].data
    return graph


def attempt_of(one: Any) -> int | None:
    """Return the attempt that an object was asked for, None for the latest."""
    attempt: int | None = one._attempt
    return attempt


def place_of(one: Any) -> tuple[str | None, str]:
    """Return the namespace that an object was found in, None for any, and its provider."""
    namespace = one._current_namespace if one._namespace_check else None
    return namespace, one._metaflow.metadata.metadata_str()


def place_asked(arguments: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the same of one that could not be found, by the arguments of its class."""
    namespace = arguments.get("_current_namespace") or core.get_namespace()
    provider = arguments.get("_current_metadata") or core.get_metadata()
    return namespace if arguments.get("_namespace_check", True) else None, provider


def artifacts_of(data: Any) -> dict[str, DataArtifact]:
    """Return the artifacts behind the `data` of a task or run, none of them loaded."""
    artifacts: dict[str, DataArtifact] = data._artifacts
    return artifacts


def exception_of(task: Any) -> DataArtifact:
    """Return the artifact of a task's exception; KeyError if it raised none."""
    artifact: DataArtifact = task["_exception"]
    return artifact


def digest_of_code(code: Any) -> str:
    """Return the SHA-1 of the code package of a run or task."""
    sha1: str = code._sha
    return sha1


class Settings:
    """The namespace and the metadata provider in force when this was made.

    Both are asked for when they are wanted: to find out may take a request to a server.
    """

    def __init__(self) -> None:
        self._namespace = core.current_namespace
        self._metadata = current._metadata_str
        if self._metadata is None and core.current_metadata:
            self._metadata = core.current_metadata.metadata_str()

    @cached_property
    def namespace(self) -> str | None:
        """The namespace; None if objects are found in any."""
        known: Any = self._namespace
        return str(resolve_identity()) if known is False else known

    @cached_property
    def metadata(self) -> str:
        """The provider, as it names itself."""
        return str(self._metadata or core.get_metadata())


@contextlib.contextmanager
def looking_at(namespace: str | None, metadata: str | None) -> Iterator[None]:
    """Let the Client look in a namespace, None for any, and at a provider, None for the usual.

    Both settings are global in Metaflow. ValueError if there is no such provider.
    """
    before = core.current_namespace, core.current_metadata
    core.current_namespace = namespace
    try:
        with contextlib.nullcontext() if metadata is None else _provider(metadata):
            yield
    finally:
        core.current_namespace, core.current_metadata = before


@contextlib.contextmanager
def _provider(wanted: str) -> Iterator[None]:
    provider: Any
    provider, place = core._metadata(wanted)
    if provider is None:
        raise ValueError(f"there is no metadata provider {wanted}")
    core.current_metadata = provider
    if provider.metadata_str() == wanted:
        yield
        return
    info = provider.INFO
    provider.INFO = place
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # It said there that there is no directory.
            provider.INFO = info


def add_to_current(name: str, value: Any) -> None:
    """Let steps find a value as `current.<name>`."""
    current._update_env({name: value})


def current_run() -> tuple[str | None, str | None]:
    """Return the flow and the run that this process works for."""
    return current._flow_name, current._run_id
