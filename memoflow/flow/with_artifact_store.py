"""@with_artifact_store: another place for a flow's saves, and the place of another run.

Imported whenever Metaflow is, so nothing here imports the store until it is used.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from metaflow.decorators import FlowDecorator
from metaflow.exception import MetaflowException

from memoflow.errors import UsageError
from memoflow.flow.lifecycle import Option, WithOptions, artifact_store, translated_errors


class ArtifactStoreException(MetaflowException):
    headline = "@with_artifact_store"


class ArtifactStoreTypeError(ArtifactStoreException, TypeError):
    """An argument of a type that the call never takes."""


_TAKEN = (
    "it takes a type, such as 'local', and a config with the 'root' of that "
    "datastore: a dict, or a function that returns one"
)


def _type(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(_TAKEN)
    return value


def _config(name: str, value: Any) -> dict[str, Any]:
    config = value() if callable(value) else value
    if not isinstance(config, dict) or not config.get("root"):
        raise UsageError(_TAKEN)
    return config


class ArtifactStoreDecorator(WithOptions, FlowDecorator):
    """Keep a flow's checkpoints, models and snapshots in another datastore than its artifacts."""

    name = "with_artifact_store"
    # fmt: off
    option_table = (
        Option("type", None, _type, "str | None",
               'a type of datastore: `"local"`, `"s3"`, `"azure"` or `"gs"`'),
        Option("config", None, _config, "dict[str, Any] | Callable[[], dict[str, Any]] | None",
               '`"root"`, the root of the datastore, and for S3 arguments of boto3: '
               '`"client_params"`, `"session_vars"` and `"role_arn"`. A function is called in each '
               "process that needs it, so that a secret is read where it is used; only type and "
               "root are ever written down"),
    )
    # fmt: on
    exception = ArtifactStoreException

    def flow_init(
        self, flow: Any, graph: Any, environment: Any, flow_datastore: Any, metadata: Any, *_: Any
    ) -> None:
        given = self.values
        store = artifact_store()
        with translated_errors(self.exception):
            store.use_for_flow(given["type"], str(given["config"]["root"]), given["config"])
        tags = [f"{name}:{value}" for name, value in store.notes_of_flow().items()]
        metadata.add_sticky_tags(sys_tags=tags)


def artifact_store_from(
    run: Any = None, task: Any = None, config: dict[str, Any] | None = None
) -> AbstractContextManager[None]:
    """Use the store that a run or task kept its checkpoints and models in, within the block.

    `config` overrides parts of its configuration, such as "root". For a run without
    `@with_artifact_store` that is the default store. ValueError unless one of both is given.
    """
    if (run is None) == (task is None):
        raise ValueError("artifact_store_from takes either run= or task=, and not both")
    given, needed = (task, "metadata_dict") if run is None else (run, "system_tags")
    if not hasattr(given, needed):
        raise ArtifactStoreTypeError(
            f"artifact_store_from takes a Run or Task of Metaflow's Client, not {given!r:.80}"
        )
    if run is None:
        notes = task.metadata_dict
    else:
        notes = dict(tag.partition(":")[::2] for tag in run.system_tags)
    found: AbstractContextManager[None] = artifact_store().switched(notes, config or {})
    return found
