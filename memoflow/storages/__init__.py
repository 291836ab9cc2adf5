"""Storages: backends on Metaflow's datastores, with Metaflow's own configuration."""

from memoflow.storages.opening import backend_of, check, configured, folder_of

__all__ = ["backend_of", "check", "configured", "folder_of"]
