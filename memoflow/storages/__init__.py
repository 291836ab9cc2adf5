"""Storages: backends where Metaflow keeps its data, reached as Metaflow is configured to."""

from memoflow.storages.opening import backend_of, check, configured, folder_of

__all__ = ["backend_of", "check", "configured", "folder_of"]
