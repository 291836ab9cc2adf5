"""Resumable downloads of large files, also after the process that began one was killed.

`hf_hub_download` takes up what broke off within one call, and begins anew after a connection that
was reset or a process that was killed. So the bytes of a large file are brought in before it is
called, by the function that it would use without Xet, into a file that stays until it is whole.

Xet goes over several connections at once, and keeps nothing of what broke off. It is left what
comes no other way: files of more than 50 GB.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from memoflow.kinds.hub import Wanted
from memoflow.kinds.hub_files import Announced, WrongFileError, prove


def download_resumable(
    wanted: Wanted,
    commit: str,
    file: Announced,
    *,
    cache_dir: Path,
    endpoint: str | None,
    headers: Mapping[str, str],
    timeout_s: float,
    bar: Any,
    force: bool = False,
) -> bool:
    """Download a file into huggingface_hub's cache, resuming; False if that needs no help.

    Small files that are in git have nothing to go on from. What breaks off raises what
    huggingface_hub does, and a later call goes on; WrongFileError if what came is not what was
    announced. With `force` what is in the cache is fetched again.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock

    repo: dict[str, Any] = {"repo_id": wanted.repo_id, "repo_type": wanted.repo_type}
    is_small = file.size_bytes < constants.DOWNLOAD_CHUNK_SIZE
    if is_small and not file.digest.startswith("sha256:"):
        return False
    if file.size_bytes > getattr(constants, "MAX_HTTP_DOWNLOAD_SIZE", math.inf):
        return False
    cached = try_to_load_from_cache(
        filename=file.path, revision=commit, cache_dir=cache_dir, **repo
    )
    if isinstance(cached, str) and not force:
        return True
    etag = file.digest.partition(":")[2]
    folder = repo_folder_name(**repo)
    blob = cache_dir / folder / "blobs" / etag
    pointer = cache_dir / folder / "snapshots" / commit / file.path
    lock = cache_dir / ".locks" / folder / f"{etag}.lock"
    for each in (blob, lock):
        each.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists() and not force:
            _point(pointer, blob)
            return True
        url = hf_hub_url(filename=file.path, revision=commit, endpoint=endpoint, **repo)
        found = get_hf_file_metadata(url, headers=dict(headers), timeout=timeout_s)
        if (found.etag, found.size) != (etag, file.size_bytes):
            return False
        # The address may be of another host, which the token is none of the business of.
        at_home = urlsplit(found.location).netloc == urlsplit(url).netloc
        part = blob.with_name(f"{etag}.memoflow.incomplete")
        if part.exists() and part.stat().st_size > file.size_bytes:
            part.unlink()  # It is no beginning of this file.
        with open(part, "ab") as opened:
            http_get(
                found.location,
                opened,
                resume_size=opened.tell(),
                headers={
                    name: value
                    for name, value in headers.items()
                    if at_home or name.lower() != "authorization"
                },
                expected_size=file.size_bytes,
                displayed_filename=file.path,
                **supported_options(http_get, tqdm_class=bar),
            )
        try:
            prove(file, part)
        except WrongFileError:
            part.unlink()
            raise
        os.replace(part, blob)
        if isinstance(cached, str) and not os.path.samefile(cached, blob):
            os.unlink(cached)  # On a file system without links it is a copy of the former.
        _point(pointer, blob)
    return True


def _point(pointer: Path, blob: Path) -> None:
    """Make a file of a snapshot, as huggingface_hub would after it has asked for the file again."""
    from huggingface_hub import constants

    if getattr(constants, "HF_HUB_DISABLE_SYMLINKS", False):
        return
    # Where there are no links, huggingface_hub makes copies.
    with contextlib.suppress(OSError):
        pointer.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(os.path.relpath(blob, pointer.parent), pointer)


def supported_options(function: Any, **options: Any) -> dict[str, Any]:
    """Return the options that this version of a function of huggingface_hub accepts."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}
