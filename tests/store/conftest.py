"""Two machines, here and there, over one backend."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from memoflow.backends import Backend, Local, Memory
from memoflow.names import Digest, Key
from memoflow.store import Adoption, Payload, Store, open_store
from tests.conftest import Clock
from tests.faults import Faulty

KEY = Key.of("model", "a")
SERIES = Key.of("checkpoint", "F", "s")
FILES = Payload(files={"small": b"small", "large": b"0123456789" * 500})


@pytest.fixture
def faulty(clock: Clock, faulty_around: Callable[[Backend], Faulty]) -> Faulty:
    return faulty_around(Memory(clock=clock))


@pytest.fixture
def store(faulty: Faulty, tmp_path: Path, clock: Clock) -> Store:
    return open_store(faulty, cache_dir=tmp_path / "here", clock=clock)


@pytest.fixture
def there(store: Store, faulty: Faulty, tmp_path: Path, clock: Clock) -> Store:
    """The same store as another machine sees it."""
    return open_store(faulty.backend, cache_dir=tmp_path / "there", clock=clock)


@pytest.fixture
def on_disk(tmp_path: Path) -> Store:
    """A store in a directory, where files are adopted by hard link."""
    return open_store(tmp_path / "store", cache_dir=tmp_path / "cache")


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[..., Adoption]:
    """Write files as Metaflow does: gzip, to be known by the SHA-1 of what is in it."""

    def write(content: bytes, *, name: str = "artifact", mtime: float = 1.0) -> Adoption:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        path.write_bytes(gzip.compress(content, 3, mtime=mtime))
        return Adoption(Digest("sha1:" + hashlib.sha1(content).hexdigest()), path)

    return write


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def blobs(backend: Backend) -> list[str]:
    return [found.name for found in backend.list("blobs")]


def local_root(store: Store) -> Path:
    assert isinstance(store.backend, Local)
    return store.backend.root
