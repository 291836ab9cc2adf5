"""Signpost: what memoflow adds to Metaflow."""

import memoflow.flow.memo.flags  # noqa: F401  adds --memo and --memo-refresh when `run` is loaded

STEP_DECORATORS_DESC = [
    ("memoize", "memoflow.flow.memo.memoize.MemoizeDecorator"),
    ("checkpoint", "memoflow.flow.checkpoint.checkpoint.CheckpointDecorator"),
    ("model", "memoflow.flow.model.model.ModelDecorator"),
    ("huggingface_hub", "memoflow.flow.hub.huggingface_hub.HuggingfaceHubDecorator"),
]
CLIS_DESC = [("memo", "memoflow.cli.front_doors.of_flow")]
FLOW_DECORATORS_DESC = [
    ("with_artifact_store", "memoflow.flow.artifact_store.ArtifactStoreDecorator"),
]
