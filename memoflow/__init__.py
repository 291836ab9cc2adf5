"""memoflow: cached steps, checkpoints and models for Metaflow, in one content-addressed store.

    from memoflow import checkpoint, huggingface_hub, memoize, model

are the decorators that `from metaflow import ...` has as well, and `memoflow.open_store()` is the
store that they save to. `memoize` takes plain functions, too, and `memoflow.map` runs one over many
items. A name is imported when it is asked for: `import memoflow` imports neither
Metaflow nor anything else.
"""

from __future__ import annotations

from importlib import import_module

# As `typing` has it, which takes longer to import than all of this. Computed, since editors that go
# by jedi do not read on where they see that it is False.
TYPE_CHECKING = not __name__
if TYPE_CHECKING:
    from typing import Any

    from memoflow.catalog.store import open_store as open_store
    from memoflow.flow.signatures import checkpoint as checkpoint
    from memoflow.flow.signatures import huggingface_hub as huggingface_hub
    from memoflow.flow.signatures import memoize as memoize
    from memoflow.flow.signatures import model as model
    from memoflow.flow.signatures import with_artifact_store as with_artifact_store
    from memoflow.flow.standalone import Checkpoint as Checkpoint
    from memoflow.flow.standalone import delete_model as delete_model
    from memoflow.flow.standalone import load_model as load_model
    from memoflow.flow.standalone import load_state as load_state
    from memoflow.flow.with_artifact_store import artifact_store_from as artifact_store_from
    from memoflow.functions.mapping import map as map
    from memoflow.functions.notebook import load_ipython_extension as load_ipython_extension
    from memoflow.functions.results import results as results
    from memoflow.names import Key as Key

# A literal: distribution metadata does not travel into remote tasks.
__version__ = "0.1.0"

# Metaflow reads this: the whole package goes into every code package.
METAFLOW_PACKAGE_POLICY = "include"

# Where a name is. The decorators are Metaflow's to make, of the classes that it was told of.
_HOMES = {
    "Checkpoint": "memoflow.flow.standalone",
    "Key": "memoflow.names",
    "artifact_store_from": "memoflow.flow.with_artifact_store",
    "checkpoint": "metaflow",
    "delete_model": "memoflow.flow.standalone",
    "huggingface_hub": "metaflow",
    "load_ipython_extension": "memoflow.functions.notebook",
    "load_model": "memoflow.flow.standalone",
    "load_state": "memoflow.flow.standalone",
    "map": "memoflow.functions.mapping",
    "memoize": "memoflow.functions.decorator",
    "model": "metaflow",
    "open_store": "memoflow.catalog.store",
    "results": "memoflow.functions.results",
    "with_artifact_store": "metaflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
