"""State: nested containers of tensors, arrays and other objects, as plain files.

`snapshot` takes a state apart into a pickle of its structure and the memory of its leaves, which
`safetensors_parts` lays out as a file; `load` puts it together, or only some paths of it.
"""

from memoflow.state.loading import load
from memoflow.state.safetensors import StoredLeaf, safetensors_parts
from memoflow.state.snapshot import Leaf, StateSnapshot, snapshot
from memoflow.state.walk import leaves

__all__ = [
    "Leaf",
    "StateSnapshot",
    "StoredLeaf",
    "leaves",
    "load",
    "safetensors_parts",
    "snapshot",
]
