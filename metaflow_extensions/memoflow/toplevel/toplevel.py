"""Signpost: names of memoflow's that `from metaflow import ...` finds."""

import metaflow
from metaflow import metaflow_config

from memoflow import __version__ as __version__
from memoflow.flow import documented, supported

# By these two Metaflow tells the version of an extension.
__mf_extensions__ = "memoflow"
__all__ = []

if supported.is_supported() and supported.has_checkpoints(
    getattr(metaflow_config, "MEMOFLOW_CHECKPOINT", None)
):
    from memoflow.flow.standalone import Checkpoint, delete_model, load_model
    from memoflow.flow.with_artifact_store import artifact_store_from

    __all__ += ["Checkpoint", "artifact_store_from", "delete_model", "load_model"]

if supported.is_supported():
    # In place of those that Metaflow has made of the same classes.
    globals().update(documented.documented(vars(metaflow)))
