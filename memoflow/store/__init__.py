"""The store: the one door."""

from memoflow.store.leases import Lease
from memoflow.store.open import open_store
from memoflow.store.refs.remembered import Remembered
from memoflow.store.saves.adoption import Adoption, Payload
from memoflow.store.store import Store

__all__ = ["Adoption", "Lease", "Payload", "Remembered", "Store", "open_store"]
