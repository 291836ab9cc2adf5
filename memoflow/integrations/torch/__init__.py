"""torch: the storage of `torch.distributed.checkpoint` in checkpoints.

    rank-<number>.safetensors   the tensors, and other values as bytes, that a rank stored
    metadata.pickle             which of them make up a state: the Metadata of torch

Each rank stores its file by itself, and the coordinator writes the checkpoint of all, so ranks need
no folder in common, only the store.
"""

from memoflow.integrations.torch.reading import StorageReader
from memoflow.integrations.torch.writing import StorageWriter

__all__ = ["StorageReader", "StorageWriter"]
