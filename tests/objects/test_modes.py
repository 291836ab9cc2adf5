"""What only its owner could read stays so; all else is as the umask says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from memoflow.backends import Backend, Local, Memory
from memoflow.errors import IntegrityError
from memoflow.objects import Manifest, Tree, unpack
from memoflow.objects.packing import pack


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for folder, bits in (("private", 0o700), ("private/inner", 0o755), ("open", 0o755)):
        (root / folder).mkdir(parents=True)
        (root / folder).chmod(bits)
    for path, bits in (
        ("secret", 0o600),
        ("tool", 0o700),
        ("team", 0o640),
        ("public", 0o644),
        ("run", 0o755),
        ("shared", 0o666),
        ("read-only", 0o400),
        ("setuid", 0o4755),
        ("private/inner/file", 0o644),
        ("open/secret", 0o600),
    ):
        (root / path).write_bytes(os.urandom(3000))
        (root / path).chmod(bits)
    return root


def save(backend: Backend, tree: Path) -> Manifest:
    packed = pack(backend, Tree.survey(tree, {}))
    manifest = Manifest(packed.files, packed.folders, modes=packed.modes)
    return Manifest.from_bytes(manifest.to_bytes())


def modes(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")
    }


def test_private_files_and_folders_stay_private(tree: Path, tmp_path: Path) -> None:
    backend = Memory()
    unpack(backend, save(backend, tree), tmp_path / "out")
    assert modes(tmp_path / "out") == {
        "secret": 0o600,
        "tool": 0o700,
        "team": 0o640,
        "public": 0o644,
        "run": 0o755,
        "shared": 0o644,
        "read-only": 0o600,
        "setuid": 0o755,
        "private": 0o700,
        "private/inner": 0o755,
        "private/inner/file": 0o644,
        "open": 0o755,
        "open/secret": 0o600,
    }


def test_a_load_of_some_files_gives_them_their_modes(tree: Path, tmp_path: Path) -> None:
    backend = Memory()
    whole = save(backend, tree)
    some = Manifest(tuple(f for f in whole.files if f.path == "team"), modes=whole.modes)
    unpack(backend, some, tmp_path / "out")
    assert modes(tmp_path / "out") == {"team": 0o640}


def test_links_for_reading_do_not_open_private_files(tree: Path, tmp_path: Path) -> None:
    backend = Local(tmp_path / "store")
    packed = pack(backend, Tree.survey(tree, {}), whole=True, linked=True)
    manifest = Manifest(packed.files, packed.folders, modes=packed.modes)
    unpack(backend, manifest, tmp_path / "out", linked=_Nothing())
    assert modes(tmp_path / "out")["open/secret"] & 0o077 == 0


class _Nothing:
    def recall(self, blobs):  # type: ignore[no-untyped-def]
        return {}

    def remember(self, states):  # type: ignore[no-untyped-def]
        pass


def test_a_tree_that_all_may_read_is_noted_as_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3000)
    (tmp_path / "file").chmod(0o644)
    backend = Memory()
    packed = pack(backend, Tree.survey(tmp_path / "file", {}))
    assert "meta" not in Manifest(packed.files, modes=packed.modes).to_json()


@pytest.mark.parametrize("bits", [-1, 0o1000, 0o4755, True, "0644", None, 1e3])
def test_modes_that_are_none_are_refused(bits: object) -> None:
    described = Manifest().to_json() | {"meta": {"modes": {"a": bits}}}
    with pytest.raises(IntegrityError):
        Manifest.from_json(described)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "link", "absent", ""])
def test_modes_of_what_is_not_written_do_nothing(tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    outside.chmod(0o644)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_bytes(b"a")
    (tmp_path / "tree" / "link").symlink_to("a")
    backend = Memory()
    packed = pack(backend, Tree.survey(tmp_path / "tree", {}))
    unpack(backend, Manifest(packed.files, modes={path: 0o700}), tmp_path / "into")
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "into" / "a").stat().st_mode) == 0o644
