"""Signpost: what memoflow adds to Metaflow."""

from metaflow import metaflow_config

from memoflow.flow import supported

STEP_DECORATORS_DESC = []
FLOW_DECORATORS_DESC = []
CLIS_DESC = []

if supported.is_supported():
    # It adds --memo and --memo-refresh when `run` is loaded.
    import memoflow.flow.memo.flags  # noqa: F401

    STEP_DECORATORS_DESC += [("memoize", "memoflow.flow.memo.memoize.MemoizeDecorator")]
    CLIS_DESC += [("memo", "memoflow.cli.front_doors.of_flow")]
    if supported.has_checkpoints(getattr(metaflow_config, "MEMOFLOW_CHECKPOINT", None)):
        STEP_DECORATORS_DESC += [
            ("checkpoint", "memoflow.flow.checkpoint.checkpoint.CheckpointDecorator"),
            ("model", "memoflow.flow.model.model.ModelDecorator"),
            ("huggingface_hub", "memoflow.flow.hub.huggingface_hub.HuggingfaceHubDecorator"),
        ]
        FLOW_DECORATORS_DESC += [
            ("with_artifact_store", "memoflow.flow.with_artifact_store.ArtifactStoreDecorator"),
        ]
