"""With a signing key nothing is used that no holder of the key has saved."""

from __future__ import annotations

import json
import logging
import os
import pickle
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from memoflow.backends import Backend, Local, Memory
from memoflow.errors import IntegrityError, NotFoundError, UnsignedError, UsageError
from memoflow.names import Digest, Key
from memoflow.objects import Piece, unpacking
from memoflow.store import Payload, Store, open_store
from memoflow.store.refs.ref_file import decode, encode
from memoflow.store.refs.signing import Keyring
from tests.faults import Faulty
from tests.store.conftest import FILES, KEY, SERIES, blobs, contents

OURS = "ours-0123456789abcdef"
NEXT = "next-0123456789abcdef"
THEIRS = "theirs-0123456789abcdef"
VARIABLE = "METAFLOW_MEMOFLOW_SIGNING_KEY"

Opened = Callable[..., Store]


@pytest.fixture(params=["directory", "memory", "elsewhere"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Opened:
    """Open one store with different keys, each time on another machine unless it is named."""
    memory = Memory()
    places: dict[str, Callable[[], Backend]] = {
        "directory": lambda: Local(tmp_path / "store"),
        "memory": lambda: memory,
        "elsewhere": lambda: Faulty(memory, takes_round_trips=True),
    }
    count = iter(range(100))

    def open_with(keys: str | None, *, machine: str | None = None) -> Store:
        if keys is None:
            monkeypatch.delenv(VARIABLE, raising=False)
        else:
            monkeypatch.setenv(VARIABLE, keys)
        cache = tmp_path / "caches" / (machine or str(next(count)))
        return open_store(places[request.param](), cache_dir=cache)

    return open_with


def test_what_a_holder_of_the_key_saved_is_loaded(opened: Opened, tmp_path: Path) -> None:
    opened(OURS).save(KEY, FILES)
    store = opened(OURS)
    ref = store.find(KEY)
    assert ref is not None
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files


@pytest.mark.parametrize("theirs", [None, THEIRS])
def test_what_others_saved_is_a_miss(opened: Opened, theirs: str | None) -> None:
    opened(theirs).save(KEY, FILES)
    assert opened(OURS).find(KEY) is None


@pytest.mark.parametrize("theirs", [None, THEIRS])
def test_a_ref_in_hand_to_what_others_saved_is_an_error_that_says_so(
    opened: Opened, tmp_path: Path, theirs: str | None
) -> None:
    ref = opened(theirs).save(KEY, FILES)
    store = opened(OURS)
    with pytest.raises(UnsignedError, match="METAFLOW_MEMOFLOW_SIGNING_KEY"):
        store.load(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_others_saved_stays_where_it_is(opened: Opened) -> None:
    opened(None).save(KEY, FILES)
    store = opened(OURS)
    assert store.find(KEY) is None
    assert store.distrusts(KEY)
    assert store.quarantined() == []
    assert opened(None).find(KEY) is not None


def test_an_index_from_before_there_was_a_key_is_not_believed(opened: Opened) -> None:
    before = opened(None, machine="same")
    before.save(KEY, FILES)
    before.close()
    assert opened(OURS, machine="same").find(KEY) is None


def test_one_line_says_that_entries_are_passed_over(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    unsigned = opened(None)
    keys = [Key.of("model", str(n)) for n in range(5)]
    for key in keys:
        unsigned.save(key, FILES)
    store = opened(OURS)
    with caplog.at_level(logging.WARNING, "memoflow"):
        assert [store.find(key) for key in keys] == [None] * 5
    (line,) = [text for text in caplog.messages if "signed" in text]
    assert "is not signed" in line
    assert "METAFLOW_MEMOFLOW_SIGNING_KEY" in line


def test_without_a_key_signed_entries_are_loaded(opened: Opened, tmp_path: Path) -> None:
    ref = opened(OURS).save(KEY, FILES)
    store = opened(None)
    assert store.find(KEY) == ref
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files


def test_a_save_takes_the_place_of_what_others_saved(opened: Opened, tmp_path: Path) -> None:
    opened(None).save(KEY, Payload(files={"theirs": b"theirs"}))
    store = opened(OURS)
    ref = store.save(KEY, FILES)
    assert contents(store.load(ref, tmp_path / "out")) == FILES.files
    assert [found.name for found in store.quarantined()] == [f"quarantine/refs/{KEY}"]


def test_latest_passes_over_what_others_appended(opened: Opened) -> None:
    ours = opened(OURS).append(SERIES, FILES)
    opened(None).append(SERIES, FILES)
    assert opened(OURS).latest(SERIES) == ours


def test_others_numbers_are_not_used_again(opened: Opened) -> None:
    theirs = opened(None).append(SERIES, FILES)
    assert opened(OURS).append(SERIES, FILES).key != theirs.key


def test_keys_can_be_changed_one_after_the_other(opened: Opened) -> None:
    old = opened(OURS).save(KEY, FILES)
    both = opened(f"{NEXT}, {OURS}")
    assert both.find(KEY) == old
    new = both.save(Key.of("model", "b"), FILES)
    assert opened(NEXT).find(new.key) == new
    assert opened(OURS).find(new.key) is None
    assert opened(NEXT).find(KEY) is None


def test_a_sweep_with_a_key_keeps_what_others_saved(opened: Opened, tmp_path: Path) -> None:
    ref = opened(None).save(KEY, FILES)
    assert opened(OURS).sweep(now=True).blobs == 0
    assert contents(opened(None).load(ref, tmp_path / "out")) == FILES.files


def test_a_budget_counts_and_evicts_what_others_saved(opened: Opened) -> None:
    opened(None).save(KEY, FILES)
    assert len(opened(OURS).evict(max_size_bytes=0).refs) == 1


def test_verify_finds_nothing_wrong_with_what_others_saved(opened: Opened) -> None:
    opened(None).save(KEY, FILES)
    assert opened(OURS).verify() == []


def test_reading_ahead_believes_no_unsigned_copy(opened: Opened) -> None:
    unsigned = opened(None)
    for n in range(40):
        unsigned.save(Key.of("model", str(n)), Payload())
    unsigned.remembered.prefetch(Key.of("model"))
    store = opened(OURS)
    assert store.remembered.prefetch(Key.of("model")) == []
    assert store.find(Key.of("model", "1")) is None


def test_a_planted_pickle_is_never_read(opened: Opened, tmp_path: Path) -> None:
    class Plant:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "executed"),))

    opened(None).save(KEY, Payload(files={"value": pickle.dumps(Plant())}), meta={"names": []})
    store = opened(OURS)
    executions = 0
    for ref in (store.find(KEY), opened(None).find(KEY)):
        if ref is None:
            continue
        with suppress(UnsignedError):
            pickle.loads(store.read_file(store.manifest(ref), "value"))
            executions += 1
    assert executions == 0
    assert not (tmp_path / "executed").exists()


def test_forged_pieces_of_a_signed_entry_are_not_handed_out(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XXH3-128 proves pieces and can be forged: here by a planted blob that it cannot tell."""
    store = opened(OURS)
    ref = store.save(KEY, FILES)
    (name,) = blobs(store.backend)
    data = store.backend.read(name)
    assert data is not None
    manifest = store.manifest(ref)
    (file,) = [file for file in manifest.files if file.pieces]
    assert isinstance(file.pieces[0], Piece)
    store.backend.write(name, b"?" * len(data))
    monkeypatch.setattr(unpacking, "xxh3_of", lambda view: file.pieces[0].xxh3)
    reader = opened(OURS)
    with pytest.raises((IntegrityError, NotFoundError)):
        reader.load(ref, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_bit_of_a_signed_ref_can_change(opened: Opened) -> None:
    keyring = Keyring.parse("key", OURS)
    _, data = encoded(keyring)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        for reader in (keyring, Keyring()):
            with pytest.raises(IntegrityError):
                decode(KEY, bytes(changed), reader)


def encoded(keyring: Keyring) -> tuple[Any, bytes]:
    return encode(
        KEY,
        Digest.of(b""),
        meta={},
        size_bytes=1,
        new_bytes=1,
        created=1.5,
        expires=None,
        keyring=keyring,
    )


def resealed(head: bytes) -> bytes:
    return b"%b\n%b\n" % (head, Digest.of(head).encode())


@pytest.mark.parametrize(
    "how", ["another key's name", "another manifest", "no signature", "short", "another's", "twice"]
)
def test_a_signature_holds_for_one_key_and_manifest_alone(how: str) -> None:
    keyring = Keyring.parse("key", OURS)
    _, data = encoded(keyring)
    body, signature, _, _ = data.split(b"\n")
    key = KEY
    if how == "another key's name":
        key = Key.of("model", "b")
        body = body.replace(b"model/a", b"model/b")
    elif how == "another manifest":
        body = body.replace(Digest.of(b"").encode(), Digest.of(b"planted").encode())
    elif how == "no signature":
        signature = b""
    elif how == "short":
        signature = signature[:-1]
    elif how == "another's":
        signature = Keyring.parse("key", THEIRS).sign(body)
    else:
        signature = b"%b\n%b" % (signature, signature)
    planted = resealed(b"%b\n%b" % (body, signature) if signature else body)
    with pytest.raises(UnsignedError):
        decode(key, planted, keyring)


def test_what_is_not_signed_is_not_even_parsed() -> None:
    with pytest.raises(UnsignedError):
        decode(KEY, resealed(b"[" * 100_000), Keyring.parse("key", OURS))


def test_a_ref_of_a_newer_memoflow_that_is_not_ours_is_a_miss(opened: Opened) -> None:
    store = opened(OURS)
    store.backend.write(f"refs/{KEY}", resealed(json.dumps({"format": 99}).encode()))
    assert store.find(KEY) is None


@pytest.mark.parametrize("keys", ["short", f"{OURS},short", ",", " ", "\n", "@/nowhere/at/all"])
def test_keys_that_cannot_be_used_are_refused_and_not_shown(opened: Opened, keys: str) -> None:
    with pytest.raises(UsageError, match=VARIABLE) as caught:
        opened(keys)
    assert "short" not in str(caught.value).replace("shorter", "")
    assert OURS not in str(caught.value)


def test_keys_can_be_in_a_file(opened: Opened, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(f"\ufeff{NEXT}\r\n{OURS}\r\n".encode())  # As an editor may leave it.
    ref = opened(OURS).save(KEY, FILES)
    assert opened(f"@{file}").find(KEY) == ref
    theirs = opened(f"@{file}").save(Key.of("model", "theirs"), FILES)
    assert opened(NEXT).find(theirs.key) == theirs, "the first of them signs"


def test_the_key_is_written_nowhere(
    opened: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        opened(None).save(KEY, FILES)
        store = opened(OURS)
        store.find(KEY)
        store.save(KEY, FILES)
        store.append(SERIES, FILES)
        store.verify(repair=True)
        store.close()
    assert OURS not in caplog.text
    for found in store.backend.list(""):
        assert OURS.encode() not in (store.backend.read(found.name) or b"")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or OURS.encode() not in path.read_bytes()


def test_a_keyring_shows_and_pickles_nothing() -> None:
    keyring = Keyring.parse("key", OURS)
    assert OURS not in repr(keyring)
    assert OURS not in keyring.mark
    with pytest.raises(TypeError):
        pickle.dumps(keyring)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("is_local", [True, False])
def test_all_directories_are_their_owners_alone(tmp_path: Path, umask: int, is_local: bool) -> None:
    before = os.umask(umask)
    try:
        place = tmp_path / "place"
        place.mkdir()
        backend: Any = (
            Local(place / "store") if is_local else Faulty(Memory(), takes_round_trips=True)
        )
        store = open_store(backend, cache_dir=place / "cache")
        ref = store.save(KEY, FILES)
        store.load(ref, tmp_path / "out")
        store.blob_path(Digest.parse(f"sha256:{blobs(store.backend)[0].rpartition('/')[2]}"))
        store.close()
    finally:
        os.umask(before)
    ours = [place / "cache", *(place / "cache").rglob("*")]
    ours += [place / "store", *(place / "store").rglob("*")] if is_local else []
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in ours}
    folders = {path: mode for path, mode in modes.items() if path.is_dir()}
    assert set(folders.values()) == {0o700}
    assert not any(
        mode & 0o222 for path, mode in modes.items() if path.is_file() and "sqlite" not in path.name
    )
    assert {mode & 0o077 for path, mode in modes.items() if "sqlite" in path.name} == {0}
