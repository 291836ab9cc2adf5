"""World: a store, a cache of huggingface_hub's, and tasks that load from a Hub, in this process.

The store, the code that downloads, and huggingface_hub are real.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from memoflow.flow.hub.client import HubClient, Transfer
from memoflow.flow.hub.snapshots import Revalidate, Run, Snapshots
from memoflow.kinds.hub import Scope, Snapshot, Wanted
from memoflow.store import open_store
from tests.hubs import Hub
from tests.said import kept_in

LARGE = random.Random(0).randbytes(1_500_000)
FILES = {"config.json": b'{"layers": 2}', "model.safetensors": LARGE, "sub/notes.txt": b"notes"}
REPO = "org/name"
SECRET = "hf_secretsecretsecret"


class World:
    """A store, a cache of huggingface_hub's, and tasks that load from a Hub."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder = folder
        self.hub = hub
        self.said: list[str] = []
        self.store = open_store(folder / "store", cache_dir=folder / "index")

    def snapshots(
        self,
        *,
        run: str = "1",
        user: str = "alice",
        revalidate: str = "run",
        scope: tuple[str, ...] = ("flow", "Train"),
        origin: str | None = None,
    ) -> Snapshots:
        """Return those of one task."""
        return Snapshots(
            self.store,
            Scope(scope, user),
            Run("Train", run, origin),
            Revalidate.parse(revalidate),
            task=f"Train/{run}/start/1",
            attempt=0,
            say=kept_in(self.said),
        )

    def get(self, repo_id: str = REPO, *, force: bool = False, **options: Any) -> Snapshot:
        transfer = {
            "endpoint": self.hub.endpoint,
            "cache_dir": str(self.folder / "hf"),
            "etag_timeout": 0.5,
        }
        for name in Transfer.__dataclass_fields__:
            if name in options:
                transfer[name] = options.pop(name)
        task = {
            name: options.pop(name)
            for name in ("run", "user", "revalidate", "scope", "origin")
            if name in options
        }
        wanted = Wanted.of(repo_id, **options)
        client = HubClient(Transfer(**transfer), kept_in(self.said))
        return self.snapshots(**task).get(wanted, client, force=force)[0]

    def on_another_machine(self) -> World:
        """Return the same store as a machine sees it that knows nothing of it yet."""
        other = World(self.folder, self.hub)
        other.store = open_store(self.folder / "store", cache_dir=self.folder / "other index")
        return other

    def load(self, snapshot: Snapshot) -> dict[str, bytes]:
        into = self.store.load(snapshot.ref, self.folder / f"out{time.monotonic_ns()}")
        return {
            path.relative_to(into).as_posix(): path.read_bytes()
            for path in sorted(into.rglob("*"))
            if path.is_file()
        }

    def stored(self) -> set[str]:
        """Return all that the store holds, but for what a branch stood for."""
        root = self.folder / "store"
        names = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
        asked = ("refs/hub/first", "refs/hub/revision", "refs/hub/stood")
        return {name for name in names if not name.startswith(asked)}


def is_large(path: Path) -> bool:
    """Tell whether it is the blob of what is large."""
    return path.is_file() and path.stat().st_size == len(LARGE)
