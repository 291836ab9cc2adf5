"""Card root: the folder of Metaflow's cards beside a datastore."""

from __future__ import annotations

from typing import Any

from metaflow.plugins.cards.card_datastore import CardDatastore


def card_root(flow_datastore: Any) -> str | None:
    """Return the folder of Metaflow's cards beside this datastore, None if there is none.

    It may go by the working directory, so it is to be asked before a step can change that.
    """
    try:
        root = CardDatastore.get_storage_root(flow_datastore.TYPE)
    except (NotImplementedError, OSError):
        return None
    return str(root or flow_datastore.datastore_root)
