"""Resuming: a large file goes on where it stopped, though the process that began it died.

`hf_hub_download` takes up what broke off within one call, and begins anew after a connection that
was reset or a process that was killed. So the bytes of a large file are brought in before it is
called, by the function that it would use, into a file that stays until it is whole.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from memoflow.kinds.hub import Wanted
from memoflow.kinds.hub_files import Announced, WrongFileError, prove


def bring_in(
    wanted: Wanted,
    commit: str,
    file: Announced,
    *,
    cache_dir: Path,
    endpoint: str | None,
    headers: Mapping[str, str],
    timeout_s: float,
    bar: Any,
) -> None:
    """Put a file where `hf_hub_download` finds it, unless that does better by itself.

    Small files have nothing to go on from, and Xet goes on by its own means. What breaks off
    raises what huggingface_hub does, and a later call goes on; WrongFileError if what came is not
    what was announced.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock

    repo: dict[str, Any] = {"repo_id": wanted.repo_id, "repo_type": wanted.repo_type}
    if file.size_bytes < constants.DOWNLOAD_CHUNK_SIZE or isinstance(
        try_to_load_from_cache(filename=file.path, revision=commit, cache_dir=cache_dir, **repo),
        str,
    ):
        return
    etag = file.digest.partition(":")[2]
    folder = repo_folder_name(**repo)
    blob = cache_dir / folder / "blobs" / etag
    lock = cache_dir / ".locks" / folder / f"{etag}.lock"
    for each in (blob, lock):
        each.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        url = hf_hub_url(filename=file.path, revision=commit, endpoint=endpoint, **repo)
        found = get_hf_file_metadata(url, headers=dict(headers), timeout=timeout_s)
        is_other = (found.etag, found.size) != (etag, file.size_bytes)
        if is_other or getattr(found, "xet_file_data", None) is not None:
            return
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
                **taking(http_get, tqdm_class=bar),
            )
        try:
            prove(file, part)
        except WrongFileError:
            part.unlink()
            raise
        os.replace(part, blob)


def taking(function: Any, **options: Any) -> dict[str, Any]:
    """Return those of the options that this version of a function of huggingface_hub's takes."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}
