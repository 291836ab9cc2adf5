"""Damaged bytes are never returned: quarantined, forgotten, and healed by the next save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.bitflip import run as flip_bits
from memoflow.errors import FormatError, IntegrityError, NotFoundError
from memoflow.names import Digest, Key, Ref
from memoflow.objects import unpacking
from memoflow.store import Adoption, Payload, Store
from memoflow.store.refs.ref_file import decode, encode
from tests.conftest import Clock
from tests.faults import Faulty
from tests.store.conftest import FILES, KEY, SERIES, blobs, contents


@pytest.fixture
def blob(store: Store) -> str:
    """The name of the one blob of what is saved under KEY."""
    store.save(KEY, FILES)
    (name,) = blobs(store.backend)
    return name


@pytest.mark.parametrize("data", [None, b"", b"0" * 5000, b"0123"])
def test_a_blob_lost_truncated_or_zeroed_is_a_miss_and_then_healed(
    store: Store, there: Store, blob: str, tmp_path: Path, data: bytes | None
) -> None:
    if data is None:
        store.backend.delete([blob])
    else:
        store.backend.write(blob, data)
    ref = store.find(KEY)
    assert ref is not None
    with pytest.raises(NotFoundError if data is None else IntegrityError):
        store.load(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert store.find(KEY) is None
    assert there.find(KEY) is None
    again = store.save(KEY, FILES)
    assert contents(there.load(again, tmp_path / "out")) == FILES.files


def test_a_damaged_blob_is_kept_in_quarantine(store: Store, blob: str, tmp_path: Path) -> None:
    store.backend.write(blob, b"damaged")
    with pytest.raises(IntegrityError):
        store.load(store.find(KEY), tmp_path / "out")  # type: ignore[arg-type]
    assert store.backend.read(f"quarantine/{blob}") == b"damaged"
    assert blobs(store.backend) == []


def test_one_bad_read_of_a_good_blob_does_not_spoil_a_load(
    store: Store, faulty: Faulty, blob: str, tmp_path: Path
) -> None:
    ref = store.find(KEY)
    assert ref is not None
    faulty.truncate_at("open")
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files
    assert store.find(KEY) == ref


def test_a_ref_that_cannot_be_loaded_is_kept_in_quarantine(
    store: Store, there: Store, blob: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = store.find(KEY)
    assert ref is not None
    monkeypatch.setattr(unpacking, "xxh3_of", lambda view: "")
    with pytest.raises(IntegrityError):
        store.load(ref, tmp_path / "out")
    assert store.find(KEY) is there.find(KEY) is None
    data = store.backend.read(f"quarantine/refs/{KEY}")
    assert data is not None
    assert decode(KEY, data).ref == ref
    assert blobs(store.backend) == [blob]


def test_one_file_of_a_damaged_blob_is_not_read(store: Store, blob: str) -> None:
    manifest = store.manifest(store.find(KEY))  # type: ignore[arg-type]
    store.backend.write(blob, b"damaged")
    with pytest.raises(IntegrityError):
        store.read_file(manifest, "large")


def encoded() -> tuple[Ref, bytes]:
    blob = Digest.of(b"")
    return encode(KEY, blob, meta={}, size_bytes=1, new_bytes=1, created=1.5, expires=None)


def test_every_flipped_bit_of_a_ref_is_noticed(store: Store) -> None:
    ref, data = encoded()
    assert decode(KEY, data).ref == ref
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            decode(KEY, bytes(changed))


@pytest.mark.parametrize("end", [b"", b"\n", b"x", b"\0" * 100])
def test_a_ref_with_more_or_less_at_its_end_is_damaged(end: bytes) -> None:
    _, data = encoded()
    with pytest.raises(IntegrityError):
        decode(KEY, data[:-1] if not end else data + end)


def test_a_ref_of_another_key_is_damaged() -> None:
    _, data = encoded()
    with pytest.raises(IntegrityError, match="of another key"):
        decode(SERIES, data)


def test_a_ref_of_a_newer_memoflow_is_not_touched(store: Store, there: Store) -> None:
    body = b'{"format":2}'
    data = b"%b\n%b\n" % (body, Digest.of(body).encode())
    store.backend.write(f"refs/{KEY}", data)
    with pytest.raises(FormatError, match="upgrade memoflow"):
        there.find(KEY)
    with pytest.raises(FormatError):
        there.sweep(now=True)
    assert store.backend.read(f"refs/{KEY}") == data


def test_verify_says_of_a_newer_ref_what_to_do_and_goes_on(store: Store) -> None:
    body = b'{"format":2}'
    store.backend.write(f"refs/{KEY}", b"%b\n%b\n" % (body, Digest.of(body).encode()))
    store.backend.write("refs/model/damaged", b"damaged")
    found = {problem.key: problem for problem in store.verify(repair=True)}
    assert "upgrade memoflow" in found[KEY].what
    assert found[KEY].harmless
    assert found[Key.of("model", "damaged")].done == "quarantined"
    assert store.backend.has(f"refs/{KEY}")


@pytest.mark.parametrize("damaged", [b"", b"damaged"])
def test_refs_damaged_alike_are_all_quarantined(store: Store, damaged: bytes) -> None:
    keys = [Key.of("model", name) for name in "abc"]
    for key in keys:
        store.save(key, FILES)
        store.backend.write(f"refs/{key}", damaged)
    store.verify(repair=True)
    assert store.verify() == []


def test_a_ref_damaged_again_in_the_same_way_is_quarantined_again(
    store: Store, clock: Clock
) -> None:
    for _ in range(3):
        store.save(KEY, FILES)
        clock.now += 1
        store.backend.write(f"refs/{KEY}", b"")
        store.verify(repair=True)
        assert store.verify() == []


def test_an_expired_ref_that_was_put_back_is_not_taken_for_what_is_saved(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    store.save(KEY, Payload(files={"a": b"old"}), expires=clock.now + 1)
    old = store.backend.read(f"refs/{KEY}")
    assert old is not None
    clock.now += 2
    store.save(KEY, Payload(files={"a": b"new"}))
    clock.now += 2
    store.backend.write(f"refs/{KEY}", old)
    store.index.drop([KEY])
    ref = store.save(KEY, Payload(files={"a": b"newest"}))
    assert contents(store.load(ref, tmp_path / "out")) == {"a": b"newest"}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_damaged_ref_is_quarantined_and_a_miss(
    store: Store, there: Store, elsewhere: bool
) -> None:
    ref = store.save(KEY, FILES)
    store.backend.write(f"refs/{KEY}", b"damaged")
    if elsewhere:
        assert there.find(KEY) is None
    else:
        with pytest.raises(IntegrityError):
            store.manifest(ref)
    assert store.backend.read(f"quarantine/refs/{KEY}") == b"damaged"
    assert store.backend.read(f"refs/{KEY}") is None


def test_latest_falls_back_on_the_previous_good_one(store: Store, there: Store) -> None:
    good = store.append(SERIES, FILES)
    bad = store.append(SERIES, FILES)
    store.backend.write(f"refs/{bad.key}", b"damaged")
    assert there.latest(SERIES) == good


@pytest.mark.parametrize("data", [None, b"{}"])
def test_a_manifest_lost_or_damaged_is_a_miss(
    store: Store, there: Store, tmp_path: Path, data: bytes | None
) -> None:
    payload = Payload(files={str(n): b"x" * 1000 for n in range(100)})
    ref = store.save(KEY, payload)
    (name,) = blobs(store.backend)
    if data is None:
        store.backend.delete([name])
    else:
        store.backend.write(name, data)
    with pytest.raises(NotFoundError if data is None else IntegrityError):
        store.manifest(ref)
    assert there.find(KEY) is None
    assert contents(there.load(there.save(KEY, payload), tmp_path / "out")) == payload.files


def test_verify_finds_nothing_in_a_good_store(store: Store, blob: str) -> None:
    assert store.verify() == []


@pytest.mark.parametrize("data", [None, b"", b"damaged"])
def test_verify_lists_a_bad_blob_with_the_key_that_it_spoils(
    store: Store, blob: str, data: bytes | None
) -> None:
    store.backend.delete([blob])
    if data is not None:
        store.backend.write(blob, data)
    (problem,) = store.verify()
    assert (problem.name, problem.key) == (blob, KEY)
    assert ("is gone" if data is None else "is damaged") in problem.what
    assert store.find(KEY) is not None


def test_verify_without_data_finds_only_what_is_gone(store: Store, blob: str) -> None:
    store.backend.write(blob, b"damaged")
    assert store.verify(read_data=False) == []
    store.backend.delete([blob])
    assert len(store.verify(read_data=False)) == 1


def test_verify_lists_a_bad_ref(store: Store) -> None:
    store.save(KEY, Payload())
    store.backend.write(f"refs/{KEY}", b"damaged")
    (problem,) = store.verify()
    assert (problem.name, problem.key) == (f"refs/{KEY}", KEY)


def test_verify_lists_a_bad_blob_that_no_ref_reaches(store: Store, blob: str) -> None:
    store.forget(KEY)
    store.backend.write(blob, b"damaged")
    (problem,) = store.verify()
    assert (problem.name, problem.key) == (blob, None)


@pytest.mark.parametrize("what", ["blob", "ref", "both"])
def test_after_a_repair_nothing_is_wrong(store: Store, blob: str, what: str) -> None:
    for name in {"blob": [blob], "ref": [f"refs/{KEY}"], "both": [blob, f"refs/{KEY}"]}[what]:
        store.backend.write(name, b"damaged")
    assert store.verify(repair=True) != []
    assert store.verify() == []
    assert store.find(KEY) is None


def test_an_altered_packing_of_a_good_artifact_is_reported(
    on_disk: Store, artifact: Callable[..., Adoption]
) -> None:
    adoption = artifact(b"content" * 100)
    on_disk.save(KEY, Payload(adopted={"x": adoption}))
    data = bytearray(adoption.source.read_bytes())
    data[4] ^= 1  # The time in gzip's header.
    blob = on_disk.blob_path(adoption.digest)
    assert blob is not None
    blob.chmod(0o600)
    blob.write_bytes(data)
    (problem,) = on_disk.verify()
    assert "altered" in problem.what


def test_a_quarantined_artifact_is_gone_from_its_name(
    on_disk: Store, artifact: Callable[..., Adoption]
) -> None:
    adoption = artifact(b"content" * 100)
    on_disk.save(KEY, Payload(adopted={"x": adoption}))
    on_disk.quarantine(adoption.digest)
    assert not on_disk.blob_path(adoption.digest).exists()  # type: ignore[union-attr]
    assert adoption.source.exists()


def test_a_damaged_store_that_may_not_be_written_still_only_misses(
    store: Store, faulty: Faulty, blob: str, tmp_path: Path
) -> None:
    store.backend.write(blob, b"damaged")
    faulty.fail_at("write")
    faulty.fail_at("delete")
    with pytest.raises(IntegrityError):
        store.load(store.find(KEY), tmp_path / "out")  # type: ignore[arg-type]


def test_a_flipped_bit_is_noticed_and_healed() -> None:
    counts = flip_bits(40)
    assert counts["verify missed"] == counts["not healed"] == 0
    assert not any(name.endswith("wrong") for name in counts)


@pytest.mark.stress
def test_2000_flipped_bits_are_noticed_and_healed() -> None:
    counts = flip_bits(2000, seed=10_000)
    assert counts["verify missed"] == counts["not healed"] == 0
    assert not any(name.endswith("wrong") for name in counts)
