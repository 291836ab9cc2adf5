"""Former home of `Reference`: artifacts of earlier runs were pickled under this name."""

from memoflow.flow.artifact_ref import Reference

__all__ = ["Reference"]
