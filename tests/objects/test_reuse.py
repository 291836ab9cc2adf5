"""Pieces of which a pack holds little else are stored again, so that the rest of it can go."""

from __future__ import annotations

import os

import pytest

from memoflow.backends import Memory
from memoflow.objects import Manifest, Packed, Tree, read_file
from memoflow.objects.packing import pack
from memoflow.objects.planning import ReusablePieces

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def backend() -> Memory:
    return Memory()


def save(
    backend: Memory, files: dict[str, bytes], previous: Packed | None, *, least_use: float
) -> Packed:
    earlier = ReusablePieces(
        backend, previous=None if previous is None else Manifest(previous.files)
    )
    return pack(backend, Tree.survey(None, files), earlier=earlier, least_use=least_use)  # type: ignore[arg-type]


def blobs(packed: Packed) -> set[str]:
    return {piece.blob for file in packed.files for piece in file.pieces}


def test_a_pack_of_which_little_is_used_is_left(backend: Memory) -> None:
    kept = os.urandom(300 * KIB)
    first = save(backend, {"kept": kept, "other": os.urandom(4 * MIB)}, None, least_use=0.5)
    second = save(backend, {"kept": kept, "other": os.urandom(4 * MIB)}, first, least_use=0.5)
    assert not blobs(first) & blobs(second)
    assert [read_file(backend, file) for file in second.files if file.path == "kept"] == [kept]


def test_a_pack_of_which_much_is_used_stays(backend: Memory) -> None:
    kept = os.urandom(3 * MIB)
    first = save(backend, {"kept": kept, "other": os.urandom(MIB)}, None, least_use=0.5)
    second = save(backend, {"kept": kept, "other": os.urandom(MIB)}, first, least_use=0.5)
    assert blobs(first) < blobs(second)


def test_what_is_stored_again_is_not_new(backend: Memory) -> None:
    kept, other = os.urandom(300 * KIB), os.urandom(4 * MIB)
    first = save(backend, {"kept": kept, "other": other}, None, least_use=0.5)
    assert save(backend, {"kept": kept}, first, least_use=0.5).new_bytes == 0


def test_what_is_stored_again_is_found_where_it_is_now(backend: Memory) -> None:
    kept = os.urandom(200 * KIB)
    first = save(backend, {"kept": kept, "other": os.urandom(4 * MIB)}, None, least_use=0.5)
    second = save(backend, {"kept": kept}, first, least_use=0.5)
    assert {blob for blob, _, _ in second.new.values()} == blobs(second)


def test_pieces_that_have_outlived_their_pack_share_a_pack_of_their_own(backend: Memory) -> None:
    kept = os.urandom(600 * KIB)
    packed = save(backend, {"kept": kept, "other": os.urandom(4 * MIB)}, None, least_use=0.5)
    seen = []
    for _ in range(3):
        packed = save(backend, {"kept": kept, "other": os.urandom(4 * MIB)}, packed, least_use=0.5)
        (of_kept,) = (file for file in packed.files if file.path == "kept")
        seen.append({piece.blob for piece in of_kept.pieces})
    assert seen[0] == seen[1] == seen[2]


def test_packs_of_unknown_size_are_used(backend: Memory) -> None:
    backend.takes_round_trips = True
    kept, other = os.urandom(300 * KIB), os.urandom(4 * MIB)
    first = save(backend, {"kept": kept, "other": other}, None, least_use=0.5)
    earlier = ReusablePieces(backend, previous=Manifest(first.files), proven=True)
    second = pack(backend, Tree.survey(None, {"kept": kept}), earlier=earlier, least_use=0.5)
    assert blobs(second) <= blobs(first)
