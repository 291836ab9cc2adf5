"""The store: the one door."""

from memoflow.store.eviction import Evicted
from memoflow.store.leases import Lease
from memoflow.store.open import open_store
from memoflow.store.payload import Adoption, Payload
from memoflow.store.store import Store
from memoflow.store.sweeping import Swept
from memoflow.store.verification import Problem

__all__ = ["Adoption", "Evicted", "Lease", "Payload", "Problem", "Store", "Swept", "open_store"]
