"""Requests for snapshots, from the arguments of `snapshot_download` and of `load=`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import UsageError
from memoflow.flow.hub.client import Transfer
from memoflow.flow.hub.huggingface_hub import hide, reveal
from memoflow.kinds.hub import Wanted

_WANTED = ("repo_type", "revision", "allow_patterns", "ignore_patterns")
_TRANSFER = tuple(field.name for field in fields(Transfer))
# Older versions of huggingface_hub had them, and came to ignore them.
_IDLE = ("local_dir_use_symlinks", "resume_download")


@dataclass(frozen=True)
class HubRequest:
    """A snapshot, where its files go, and how to reach the Hub for it.

    None for `path` is a directory of memoflow's choice. Files are `writable` where they are the
    caller's own, as in a `local_dir`.
    """

    wanted: Wanted
    transfer: Transfer
    path: str | None = None
    writable: bool = False
    force: bool = False

    @classmethod
    def of(
        cls,
        repo_id: Any,
        options: Mapping[str, Any],
        *,
        path: str | os.PathLike[str] | None = None,
    ) -> HubRequest:
        """Return the request for these arguments of `snapshot_download`; UsageError if unknown."""
        rest = dict(options)
        wanted = Wanted.of(
            repo_id,
            endpoint=reveal(rest.get("endpoint")),
            **{name: rest.pop(name, None) for name in _WANTED},
        )
        local_dir, force = rest.pop("local_dir", None), bool(rest.pop("force_download", False))
        if local_dir is not None and path is not None:
            raise UsageError(f"{wanted.repo}: give it either a path or a local_dir")
        given = {name: reveal(rest.pop(name)) for name in _TRANSFER if name in rest}
        given = {name: value for name, value in given.items() if value is not None}
        unknown = sorted(rest.keys() - set(_IDLE))
        if unknown:
            raise UsageError(
                f"{wanted.repo}: {', '.join(unknown)} cannot be asked for; what can be is "
                f"{', '.join((*_WANTED, 'local_dir', 'force_download', *_TRANSFER))}"
            )
        _check(wanted, given)
        return cls(
            wanted,
            Transfer(**given),
            path=_path(wanted, path if local_dir is None else local_dir),
            writable=local_dir is not None,
            force=force,
        )

    @property
    def deciding(self) -> list[Any]:
        """The parts that decide the result of a step, as plain data."""
        one = self.wanted
        patterns = [None if each is None else list(each) for each in (one.allow, one.ignore)]
        return [one.repo_type, one.repo_id, one.revision, *patterns, self.path]


def _path(wanted: Wanted, path: Any) -> str | None:
    if path is None:
        return None
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise UsageError(f"{wanted.repo}: a directory to load to is a path, not {path!r}")
    return os.path.expanduser(text)


def _check(wanted: Wanted, given: Mapping[str, Any]) -> None:
    workers, timeout_s = given.get("max_workers", 1), given.get("etag_timeout", 1)
    if not isinstance(workers, int) or workers < 1:
        raise UsageError(f"{wanted.repo}: max_workers={workers!r} is no number of files at a time")
    if not isinstance(timeout_s, (int, float)) or timeout_s <= 0:
        raise UsageError(f"{wanted.repo}: etag_timeout={timeout_s!r} is no number of seconds")
    bars = given.get("tqdm_class")
    if not isinstance(bars, (type, type(None))):
        raise UsageError(f"{wanted.repo}: tqdm_class={bars!r} is no class")


def parse(load: Any) -> list[HubRequest]:
    """Return the requests of a `load=`, in any of its shapes; UsageError for any other value."""
    if load is None:
        return []
    found = []
    for one in load if isinstance(load, list) else [load]:
        what, path = one if isinstance(one, (tuple, list)) and len(one) == 2 else (one, None)
        if isinstance(what, str):
            what = {"repo_id": what}
        if not isinstance(what, Mapping) or not isinstance(path, (str, os.PathLike, type(None))):
            raise UsageError(
                f"@huggingface_hub(load={hide(load)!r}): it takes a list of 'repo', "
                "('repo', path), {'repo_id': 'repo', ...} or ({'repo_id': 'repo', ...}, path)"
            )
        options = dict(what)
        found.append(HubRequest.of(options.pop("repo_id", None), options, path=path))
    return found
