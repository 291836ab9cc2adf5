"""Artifacts: the names that a task's datastore holds, and the digests that they are bound to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Any

from metaflow.flowspec import INTERNAL_ARTIFACTS_SET

# The attribute of a flow through which a step could read any artifact.
DATASTORE = "_datastore"

# What Metaflow itself sets on a flow; none of it is a result or an input of the user's.
INTERNAL = frozenset(INTERNAL_ARTIFACTS_SET) | {
    "_cached_input",
    "_catch_exception",
    "_configs_processed",
    "_current_step",
    DATASTORE,
    "_exception",
    "_flow_state",
    "_foreach_num_splits",
    "_foreach_stack",
    "_foreach_var",
    "_graph",
    "_graph_info",
    "_iteration_stack",
    "_steps",
    "_success",
    "_task_checkpoints",
    "_task_latest_checkpoint",
    "_task_ok",
    "_task_stored_models",
    "_transition",
    "name",
}


class TaskArtifacts:
    """The artifacts of one task: those that it wrote, or those that a running one starts with.

    To bind a name moves no byte: Metaflow loads the artifact of that SHA-1 when it is asked for,
    and carries over at the task's end what its flow holds, without loading it.
    """

    def __init__(self, datastore: Any) -> None:
        self._datastore = datastore

    @classmethod
    def of_flow(cls, flow: Any) -> TaskArtifacts:
        """Return those of a flow that is about to run a step, or of an input of a join."""
        return cls(datastore_of(flow))

    def __contains__(self, name: str) -> bool:
        return name in self._datastore._objects

    def names(self) -> KeysView[str]:
        """Return all names, as a live view."""
        return self.sha1s().keys()

    def sha1s(self) -> Mapping[str, str]:
        """Return the SHA-1 of each artifact by its name."""
        bound: dict[str, str] = self._datastore._objects
        return bound

    def sha1(self, name: str) -> str | None:
        """Return the SHA-1 of an artifact's packed bytes, None if there is none of that name."""
        return self.sha1s().get(name)

    def infos(self) -> Mapping[str, dict[str, Any]]:
        """Return Metaflow's notes on each artifact by its name: size, type and encoding."""
        infos: dict[str, dict[str, Any]] = self._datastore._info
        return infos

    def info(self, name: str) -> dict[str, Any]:
        """Return Metaflow's notes on an artifact; empty if there is none of that name."""
        return self.infos().get(name, {})

    def size_bytes(self, name: str) -> int:
        """Return the size of an artifact's pickle, 0 where it is not known."""
        return int(self.info(name).get("size") or 0)

    def load(self, name: str) -> Any:
        """Return the value; KeyError if there is none, or any error of its unpickling."""
        return self._datastore[name]

    def value_of(self, sha1: str, info: dict[str, Any]) -> Any:
        """Return the value of any artifact of the flow; errors as for `load`.

        Not of one by that name: the task itself need not have it.
        """
        name = f"sha1:{sha1}"
        self.bind(name, sha1, info)
        try:
            return self.load(name)
        finally:
            self.unbind(name)
            self._datastore._info.pop(name, None)

    def bind(self, name: str, sha1: str, info: dict[str, Any]) -> None:
        """Let a name stand for the artifact of that SHA-1."""
        self._datastore._objects[name] = sha1
        self._datastore._info[name] = info

    def unbind(self, name: str) -> None:
        """Forget a name; KeyError if there is none."""
        del self._datastore._objects[name]

    def bind_all_of(self, parent: Any) -> None:
        """Bind every name that the datastore of another task holds, as it is there."""
        self._datastore._objects.update(parent._objects)
        self._datastore._info.update(parent._info)

    def bind_passed(self, parent: Any, names: Iterable[str]) -> None:
        """Bind the graph, which each task of a run is handed, and these names."""
        self._datastore.passdown_partial(parent, sorted({"_graph_info", *names}))


def datastore_of(flow: Any) -> Any:
    """Return the datastore behind a flow that runs a step, or behind an input of a join."""
    return flow._datastore


@contextlib.contextmanager
def untouched(flow: Any) -> Iterator[None]:
    """Remove from the flow, after the block, the attributes that reading has bound.

    Or it would look as if a decorator had set it, pickled again at the task's end and unknown to
    what watches the step's reads.
    """
    before = set(vars(flow))
    try:
        yield
    finally:
        for name in set(vars(flow)) - before:
            del vars(flow)[name]
