"""What cannot be had is a clear error, which shows no secret and leaves the store as it was."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from typing import Any

import pytest

from memoflow.errors import IntegrityError, MemoflowError, UsageError
from memoflow.flow.hub.client import redacted_logs
from tests.flow.hub.world import FILES, SECRET


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"repo_id": "org/unknown"}, "org/unknown"),
        ({"repo_id": "not a name"}, "not a name"),
        ({"revision": "v9"}, "no revision 'v9'"),
        ({"revision": "0" * 40}, "no revision '0000"),
        ({"allow_patterns": ["*.onnx"]}, r"\['\*\.onnx'\]"),
        ({"repo_id": "org/private"}, "HF_TOKEN"),
        ({"repo_id": "org/gated"}, "gated.*HF_TOKEN"),
    ],
)
def test_bad_input_is_a_clear_error_and_leaves_the_store_as_it_was(world, hub, asked, told):
    hub.add("org/private", FILES, private=True, tokens=(SECRET,))
    hub.add("org/gated", FILES, gated=True, tokens=(SECRET,))
    before = world.stored()
    with pytest.raises(MemoflowError, match=f"(?s){told}"):
        world.get(**asked)
    assert world.stored() == before
    assert hub.count("get") == 0


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_as_it_was(world, hub, monkeypatch):
    real = os.write

    def full(file: int, data: Any) -> int:
        if len(data) > 100_000:
            raise OSError(28, "No space left on device")
        return real(file, data)

    before = world.stored()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "link", _no_link)
        with pytest.raises(MemoflowError, match="No space left"):
            world.get()
    assert world.stored() == before
    assert world.load(world.get()) == FILES


def _no_link(*arguments: object, **options: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_a_full_disk_at_the_cache_is_a_clear_error(world, hub, monkeypatch):
    from huggingface_hub import file_download

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device", "/cache/blobs")

    before = world.stored()
    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", full)
        with pytest.raises(MemoflowError, match=r"No space left.*/cache/blobs"):
            world.get()
    assert world.stored() == before


@pytest.mark.parametrize("kind", ["status 503", "status 403", "truncate"])
def test_no_error_shows_an_address_or_a_token(world, hub, kind, caplog):
    hub.add("org/private", FILES, private=True, tokens=(SECRET,))
    hub.fault(kind, "get", times=9999)
    with pytest.raises(MemoflowError) as error:
        world.get("org/private", token=SECRET)
    told = f"{error.value!r} {error.value.__cause__!r} {world.said} {caplog.text}"
    assert SECRET not in told
    assert "127.0.0.1" not in f"{error.value}{world.said}"


@pytest.mark.usefixtures("either_way")
def test_a_token_is_passed_on_to_the_hub_alone(world, hub):
    hub.add("org/private", FILES, private=True, tokens=(SECRET,))
    assert world.load(world.get("org/private", token=SECRET)) == FILES
    assert {one.token for one in hub.requests if "private" in one.path} == {SECRET, None}
    held = [path.read_bytes() for path in (world.folder).rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in held)


@pytest.mark.parametrize("what", ["info", "tree"])
@pytest.mark.parametrize(
    "text", ["<html>log in</html>", "{}", "[[]]", "[1]", '{"sha": "main"}', '{"sha": "../../x"}']
)
def test_what_does_not_answer_as_the_hub_does_is_a_clear_error(world, hub, what, text):
    hub.fault("says", what, text=text, times=99)
    before = world.stored()
    with pytest.raises(MemoflowError, match=r"does not speak as the Hub does|without a size"):
        world.get()
    assert world.stored() == before


@pytest.mark.parametrize("oid", [None, "short", "../../../x", "/x", "Z" * 64])
def test_a_digest_that_is_none_is_a_clear_error(world, hub, oid):
    entry = {"type": "file", "path": "a", "size": 5, "oid": "0" * 40}
    hub.fault("says", "tree", text=json.dumps([{**entry, "lfs": {"size": 5, "oid": oid}}]))
    with pytest.raises(IntegrityError, match="without a size and a digest"):
        world.get()
    assert hub.count("head") == 0


def test_a_path_with_a_backslash_is_a_clear_error(world, hub):
    hub.add("org/back", {"..\\..\\x": b"x"})
    with pytest.raises(IntegrityError, match="backslash"):
        world.get("org/back")


def test_a_token_that_is_wanted_and_not_there_is_a_clear_error(world, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: None)
    with pytest.raises(UsageError, match="token=True"):
        world.get(token=True)


@pytest.mark.parametrize("kind", ["status 429", "stall", "truncate"])
def test_no_log_shows_the_signature_of_an_address(world, hub, kind, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    hub.fault(kind, "get", "model")
    assert world.load(world.get()) == FILES
    assert "Signature" not in caplog.text


def test_an_address_is_logged_without_what_makes_it_a_key(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)
    logger = logging.getLogger("huggingface_hub.file_download")
    with redacted_logs():
        logger.warning(
            "no answer from %s (%s)", "https://cdn.example/lfs/0?Signature=x&a=b", "why?"
        )
    assert caplog.messages == ["no answer from https://cdn.example/lfs/0?... (why?)"]
    assert logger.filters == []


@pytest.mark.parametrize("full", ["store", "cache"])
def test_a_disk_that_is_full_is_a_clear_error_and_nothing_refers_to_what_came(
    world, hub, full, tmp_path
):
    small = tmp_path / ("store" if full == "store" else "hf")
    small.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        hub.add("org/large", {f"{n}.npz": bytes([n]) * 1_200_000 for n in range(3)})
        with pytest.raises(MemoflowError, match=r"No space left"):
            world.get("org/large")
        refs = [name for name in world.stored() if name.startswith("refs/")]
        world.store.sweep(now=True)
        blobs = [name for name in world.stored() if name.startswith("blobs/")]
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    assert refs == blobs == []
