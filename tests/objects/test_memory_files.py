"""Files in memory are saved from where they are, in one buffer or in several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memoflow.backends import Local, Memory
from memoflow.errors import UsageError
from memoflow.names import Digest
from memoflow.objects import Manifest, blob_name, is_whole, read_file
from memoflow.objects.growing import ChangedError
from tests.objects.test_trees import MIB, save, size

DATA = os.urandom(5 * MIB + 11)
FORMS = {
    "bytes": DATA,
    "view": memoryview(DATA),
    "bytearray": memoryview(bytearray(DATA)),
    "array": memoryview(np.frombuffer(DATA[: 5 * MIB]).reshape(-1, 16)),
    "column-major": memoryview(np.asfortranarray(np.frombuffer(DATA[: 5 * MIB]).reshape(-1, 16))),
    "parts": [DATA[:7], memoryview(bytearray(DATA[7 : 3 * MIB])), b"", DATA[3 * MIB :]],
    "nothing": [],
    "empty": memoryview(np.zeros((0, 3))),
}


def read(backend: Any, manifest: Manifest) -> bytes:
    return read_file(backend, manifest.files[0])


def content(form: Any) -> bytes:
    parts = [form] if isinstance(form, (bytes, memoryview)) else form
    return b"".join(memoryview(part).tobytes("A") for part in parts)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_one_file(form: str, whole: bool) -> None:
    backend = Memory()
    manifest = save(backend, None, files={"file": FORMS[form], "other": b"x"}, whole=whole)
    assert read(backend, manifest) == content(FORMS[form])


def test_many_small_buffers_are_one_file() -> None:
    backend = Memory()
    parts = [DATA[at : at + 1000] for at in range(0, len(DATA), 1000)]
    manifest = save(backend, None, files={"file": parts})
    assert read(backend, manifest) == DATA


def test_parts_are_the_pieces_of_the_same_file_in_one_buffer() -> None:
    backend = Memory()
    one = save(backend, None, files={"file": DATA}, whole=True)
    stored = size(backend)
    assert save(backend, None, files={"file": [DATA[:9], DATA[9:]]}, whole=True) == one
    assert size(backend) == stored


def test_memory_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot save rows: "):
        save(Memory(), None, files={"rows": memoryview(np.arange(100))[::2]})


class Restless(Memory):
    """Changes a buffer each time that a blob is written, `times` times."""

    def __init__(self, buffer: bytearray, times: int) -> None:
        super().__init__()
        self.buffer, self.times = buffer, times

    def write(self, name: str, data: Any, **options: bool) -> bool:
        if self.times and not isinstance(data, bytes):
            self.times -= 1
            self.buffer[len(self.buffer) * 3 // 4] ^= 1
        return super().write(name, data, **options)


@pytest.mark.parametrize("whole", [False, True])
def test_a_buffer_that_changes_while_it_is_saved_is_saved_as_it_was_at_one_time(
    whole: bool,
) -> None:
    buffer = bytearray(DATA)
    backend = Restless(buffer, times=1)
    manifest = save(backend, None, files={"file": memoryview(buffer)}, whole=whole)
    assert backend.times == 0
    assert read(backend, manifest) == buffer != DATA


@pytest.mark.parametrize("whole", [False, True])
def test_a_buffer_that_never_holds_still_is_refused(whole: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr("memoflow.objects.growing._PAUSES_S", (0.0, 0.0))
    buffer = bytearray(DATA)
    backend = Restless(buffer, times=-1)
    with pytest.raises(ChangedError, match=r"^weights changed while it was being saved"):
        save(backend, None, files={"weights": memoryview(buffer)}, whole=whole)
    for found in backend.list("blobs"):
        assert is_whole(backend, Digest(f"sha256:{found.name.rpartition('/')[2]}"))


def test_linked_saves_copy_what_is_in_memory(tmp_path: Path) -> None:
    backend = Local(tmp_path)
    buffer = bytearray(DATA)
    manifest = save(backend, None, files={"file": memoryview(buffer)}, whole=True, linked=True)
    buffer[:] = bytes(len(buffer))
    assert read(backend, manifest) == DATA
    (blob,) = {piece.blob for piece in manifest.files[0].pieces}
    assert backend.read(blob_name(blob)) == DATA
