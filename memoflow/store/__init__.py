"""The store: the one door."""

from memoflow.store.leases import Lease
from memoflow.store.open import open_store
from memoflow.store.refs.remembered import Remembered
from memoflow.store.saves.adoption import Adoption, Payload
from memoflow.store.small_values import LARGEST_SMALL_BYTES
from memoflow.store.store import Store

__all__ = [
    "LARGEST_SMALL_BYTES",
    "Adoption",
    "Lease",
    "Payload",
    "Remembered",
    "Store",
    "open_store",
]
