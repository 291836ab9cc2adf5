"""Storage: the place of a flow datastore's bytes and cards, and readers of its tasks."""

from __future__ import annotations

from typing import Any

from metaflow.datastore import FlowDataStore
from metaflow.plugins.cards.card_datastore import CardDatastore

from memoflow.flow.host.blobs import BlobCache


def storage_of(flow_datastore: Any) -> Any:
    """Return the storage of a flow's datastore: `path_join`, `info_file`, `save_bytes`."""
    return flow_datastore._storage_impl


def reader(flow_datastore: Any, cache: BlobCache) -> Any:
    """Return an own way to read the tasks of a flow: the runtime's is not ours to give a cache."""
    datastore = FlowDataStore(
        flow_datastore.flow_name,
        storage_impl=type(storage_of(flow_datastore)),
        ds_root=flow_datastore.datastore_root,
    )
    datastore.ca_store.set_blob_cache(cache)
    return datastore


def card_root(flow_datastore: Any) -> str | None:
    """Return the folder of Metaflow's cards beside this datastore, None if there is none.

    It may go by the working directory, so it is to be asked before a step can change that.
    """
    try:
        root = CardDatastore.get_storage_root(flow_datastore.TYPE)
    except (NotImplementedError, OSError):
        return None
    return str(root or flow_datastore.datastore_root)
