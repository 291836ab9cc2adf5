"""Former home of the decorators' exceptions: artifacts of earlier runs were pickled with them."""

from memoflow.flow.checkpoint.checkpoint import CheckpointException
from memoflow.flow.hub.huggingface_hub import HuggingfaceHubException
from memoflow.flow.model.model import ModelException

__all__ = ["CheckpointException", "HuggingfaceHubException", "ModelException"]
