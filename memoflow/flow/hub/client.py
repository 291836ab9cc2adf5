"""Client of the Hub: commits, lists of files and downloads, by huggingface_hub."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from memoflow.dataclass import dataclass
from memoflow.errors import BackendUnavailableError, IntegrityError, MemoflowError, UsageError
from memoflow.flow.hub.errors import OfflineError, translate_error, with_retries
from memoflow.flow.hub.meter import Meter, polling, waiting_reporter
from memoflow.flow.hub.resuming import download_resumable, supported_options
from memoflow.kinds import hub, hub_files
from memoflow.kinds.hub import Wanted
from memoflow.kinds.hub_files import Announced, WrongFileError
from memoflow.log import Say
from memoflow.threads import Pool

_MOST_PAGES = 100_000
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


@dataclass(frozen=True)
class Transfer:
    """The route to the Hub: arguments of `snapshot_download` that decide no content.

    Never shown, since a token may be among them.
    """

    token: Any = field(default=None, repr=False)
    endpoint: str | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    cache_dir: str | os.PathLike[str] | None = None
    user_agent: Any = None
    library_name: str | None = None
    library_version: str | None = None
    tqdm_class: Any = None
    etag_timeout: float | None = None  # seconds; None: as huggingface_hub is set
    max_workers: int = 8
    local_files_only: bool = False


@dataclass(frozen=True)
class Info:
    """The commit of a revision at present; `restricted` if the repository is private or gated."""

    commit: str
    restricted: bool


class HubClient:
    """The Hub with one user's token, endpoint and cache."""

    def __init__(self, transfer: Transfer, say: Say) -> None:
        self._transfer = transfer
        self._say = say

    @property
    def host(self) -> str:
        """The host of the endpoint, a part of the keys of revisions."""
        return hub.host_of(self._endpoint())

    def info(self, wanted: Wanted, *, has_fallback: Callable[[], bool] = lambda: False) -> Info:
        """Return the present commit of a revision; OfflineError if the Hub cannot be reached.

        BackendUnavailableError if the server does not answer as the Hub does after all retries,
        which are fewer where `has_fallback` returns true.
        """
        page = f"{self._api(wanted)}/revision/{quote(wanted.revision, safe='')}"
        with self._told(wanted):
            _, found = with_retries(
                partial(self._ask, wanted, page), wanted.repo, self._say, has_fallback=has_fallback
            )
        if not isinstance(found, dict) or not hub.is_commit(str(found.get("sha"))):
            raise _strange(wanted)
        if wanted.commit not in (None, found["sha"]):
            raise IntegrityError(
                f"asked for commit {wanted.commit} of {wanted.repo}, the Hub answers with "
                f"{found['sha']}"
            )
        # One that does not say so is not taken for public.
        restricted = bool(found.get("private", True) or found.get("gated", False))
        return Info(found["sha"], restricted)

    def files(self, wanted: Wanted, commit: str) -> list[Announced]:
        """Return the size and digest of each file of a commit that matches the patterns."""
        from huggingface_hub.utils import filter_repo_objects

        listed = self._tree(wanted, commit)
        wanted_paths = set(
            filter_repo_objects(
                [file.path for file in listed],
                allow_patterns=None if wanted.allow is None else list(wanted.allow),
                ignore_patterns=None if wanted.ignore is None else list(wanted.ignore),
            )
        )
        if listed and not wanted_paths:
            raise UsageError(
                f"none of the {len(listed)} files of {wanted.repo} at {wanted.revision} matches "
                f"allow_patterns={_listed(wanted.allow)} and "
                f"ignore_patterns={_listed(wanted.ignore)}"
            )
        return [file for file in listed if file.path in wanted_paths]

    def _tree(self, wanted: Wanted, commit: str) -> list[Announced]:
        # Not by `HfApi.list_repo_tree`, which waits for ever where the Hub stalls.
        page: str | None = f"{self._api(wanted)}/tree/{commit}"
        options: dict[str, Any] = {"params": {"recursive": True}}
        found: list[Announced] = []
        seen = set()
        with self._told(wanted):
            while page is not None:
                seen.add(page)
                ask = partial(self._ask, wanted, page, **options)
                answer, entries = with_retries(ask, wanted.repo, self._say)
                if not isinstance(entries, list):
                    raise _strange(wanted)
                announced = (_announced(wanted, entry) for entry in entries)
                found += [file for file in announced if file is not None]
                page, options = answer.links.get("next", {}).get("url"), {}
                if page in seen or len(seen) > _MOST_PAGES:
                    raise IntegrityError(f"the Hub's list of the files of {wanted.repo} has no end")
        return found

    def _ask(self, wanted: Wanted, page: str, **options: Any) -> tuple[Any, Any]:
        """Return the response and its JSON."""
        from huggingface_hub.utils import get_session, hf_raise_for_status, validate_repo_id

        if self._transfer.local_files_only:
            raise OfflineError(f"{wanted.repo} is not to be asked for: local_files_only=True")
        validate_repo_id(wanted.repo_id)
        answer = get_session().get(
            page, headers=self._headers(), timeout=self._timeout_s(), **options
        )
        hf_raise_for_status(answer)
        try:
            return answer, answer.json()
        except ValueError:
            raise _strange(wanted) from None

    def check_access(self, wanted: Wanted, commit: str, file: Announced) -> None:
        """Raise BackendDeniedError if this user may not have the files of a repository.

        Of a gated one everybody may see the list.
        """
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(
            wanted.repo_id,
            file.path,
            repo_type=wanted.repo_type,
            revision=commit,
            endpoint=self._transfer.endpoint,
        )
        with self._told(wanted):
            with_retries(
                lambda: get_hf_file_metadata(
                    url, headers=self._headers(), timeout=self._timeout_s()
                ),
                wanted.repo,
                self._say,
            )

    def fetch(
        self, wanted: Wanted, commit: str, files: Sequence[Announced], *, force: bool = False
    ) -> dict[str, Path]:
        """Download files into huggingface_hub's cache and return where each is, proven.

        A wrong one is fetched once more, then IntegrityError. What is in that cache is only
        proven, unless `force`.
        """
        meter = Meter(wanted.repo, sum(file.size_bytes for file in files), self._say)
        jobs = [
            partial(self._fetch_one, wanted, commit, file, meter, force=force) for file in files
        ]
        with polling(meter.look):
            paths = run_parallel(jobs, at_most=self._transfer.max_workers, stopped=meter.stopped)
        return {file.path: path for file, path in zip(files, paths, strict=True)}

    def _fetch_one(
        self, wanted: Wanted, commit: str, file: Announced, meter: Meter, *, force: bool
    ) -> Path:
        for forced in (force, True):
            try:
                path = self._download(wanted, commit, file, meter, force=forced)
                hub_files.prove(file, path)
            except WrongFileError as error:
                came = error
            else:
                return path
        raise IntegrityError(
            f"{file.path} of {wanted.repo} at {commit} should be {file.size_bytes} bytes with "
            f"{file.digest}, and twice what came was {came}; nothing of it was stored"
        )

    def _download(
        self, wanted: Wanted, commit: str, file: Announced, meter: Meter, *, force: bool
    ) -> Path:
        from huggingface_hub import hf_hub_download

        transfer = self._transfer
        bar = meter.bar_class(transfer.tqdm_class)

        def download() -> str:
            is_fetched = download_resumable(
                wanted,
                commit,
                file,
                cache_dir=self._cache_dir(),
                endpoint=transfer.endpoint,
                headers=self._headers(),
                timeout_s=self._timeout_s(),
                bar=bar,
                force=force,
            )
            found: str = hf_hub_download(
                wanted.repo_id,
                file.path,
                repo_type=wanted.repo_type,
                revision=commit,
                cache_dir=self._cache_dir(),
                library_name=transfer.library_name,
                library_version=transfer.library_version,
                user_agent=transfer.user_agent,
                force_download=force and not is_fetched,
                etag_timeout=self._timeout_s(),
                token=transfer.token,
                headers=None if transfer.headers is None else dict(transfer.headers),
                endpoint=transfer.endpoint,
                **supported_options(hf_hub_download, tqdm_class=bar),
            )
            return found

        with self._told(wanted, file.path):
            what = f"{file.path} of {wanted.repo}"
            return Path(with_retries(download, what, self._say, is_cancelled=meter.stopped.is_set))

    def _endpoint(self) -> str:
        from huggingface_hub import constants

        return str(self._transfer.endpoint or constants.ENDPOINT).rstrip("/")

    def _api(self, wanted: Wanted) -> str:
        return f"{self._endpoint()}/api/{wanted.repo_type}s/{wanted.repo_id}"

    def _cache_dir(self) -> Path:
        from huggingface_hub import constants

        return Path(self._transfer.cache_dir or constants.HF_HUB_CACHE).expanduser()

    def _timeout_s(self) -> float:
        from huggingface_hub import constants

        return self._transfer.etag_timeout or float(constants.HF_HUB_ETAG_TIMEOUT)

    def _headers(self) -> dict[str, str]:
        from huggingface_hub.utils import build_hf_headers

        transfer = self._transfer
        found: dict[str, str] = build_hf_headers(
            token=transfer.token,
            library_name=transfer.library_name,
            library_version=transfer.library_version,
            user_agent=transfer.user_agent,
        )
        return found | dict(transfer.headers or {})

    @contextlib.contextmanager
    def one_at_a_time(self, wanted: Wanted) -> Iterator[None]:
        """Lock a repository against other tasks on this machine for the length of the block.

        Without a directory for lock files that this user may write to, nothing is locked.
        """
        from huggingface_hub.utils import WeakFileLock

        name = f"memoflow--{wanted.repo_type}--{wanted.repo_id.replace('/', '--')}.lock"
        look = waiting_reporter(f"another task that loads {wanted.repo}", self._say)
        with contextlib.ExitStack() as stack:
            own = Path(tempfile.gettempdir()) / f"memoflow-{os.getuid()}"  # The last resort.
            for folder in (self._cache_dir() / ".locks", own):
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    with polling(look):
                        stack.enter_context(WeakFileLock(folder / name))
                    break
                except OSError:
                    continue  # A cache that is read-only, or a lock of another user's.
            yield

    @contextlib.contextmanager
    def _told(self, wanted: Wanted, path: str | None = None) -> Iterator[None]:
        """Translate errors raised in the block."""
        try:
            with redacted_logs():
                yield
        except MemoflowError:
            raise
        except Exception as error:
            # Without its cause, whose message has addresses in it.
            raise translate_error(error, wanted, path) from None


def _announced(wanted: Wanted, entry: Any) -> Announced | None:
    """Return the size and digest in an entry of a tree; None for a folder."""
    try:
        if entry["type"] != "file":
            return None
        path, lfs = entry["path"], entry.get("lfs")
        form, length = ("sha256", 64) if lfs else ("git", 40)
        size, name = (lfs or entry)["size"], (lfs or entry)["oid"]
        is_plain = isinstance(path, str) and isinstance(size, int) and size >= 0
        if not is_plain or len(name) != length or not _HEX.fullmatch(name):
            raise ValueError
    except (TypeError, KeyError, ValueError, AttributeError):
        raise IntegrityError(
            f"the Hub lists a file of {wanted.repo} without a size and a digest that could prove "
            "it; nothing was loaded"
        ) from None
    return Announced(path, size, f"{form}:{name}")


def _strange(wanted: Wanted) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"what answers for {wanted.repo} does not speak as the Hub does: is there a proxy or a "
        "login page in between, or another endpoint in HF_ENDPOINT?"
    )


def _listed(patterns: Sequence[str] | None) -> str:
    return "None" if patterns is None else repr(list(patterns))


T = TypeVar("T")


def run_parallel(
    jobs: Sequence[Callable[[], T]], *, at_most: int, stopped: threading.Event
) -> list[T]:
    """Run jobs in at most this many threads and return their results in order.

    The first error, or a signal, is raised at once and sets `stopped`, which running jobs poll.
    They are not waited for, neither here nor when Python ends.
    """
    pool = Pool(at_most)
    futures: list[Future[T]] = []
    try:
        futures.extend(map(pool.submit, jobs))
        for future in as_completed(futures):
            future.result()
    except BaseException:
        stopped.set()
        for future in futures:
            future.cancel()
        raise
    finally:
        pool.shutdown(wait=False)
    return [future.result() for future in futures]


# Whoever has the signed address of a file has the file, and the log of a task is kept.
_LIBRARIES = (
    *("hf_xet", "huggingface_hub", "httpcore", "httpcore2"),
    *("httpx", "httpx2", "requests", "urllib3"),
)
_QUERY = re.compile(r"\?[^\s'\"]*=[^\s'\"]*")


class _Redaction(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "?" in text:
            record.msg, record.args = _QUERY.sub("?...", text), ()
        return True


_filter = _Redaction()
_lock = threading.Lock()
_inside = 0


@contextlib.contextmanager
def redacted_logs() -> Iterator[None]:
    """Keep signatures out of the logs of all threads within such blocks."""
    from huggingface_hub import file_download  # noqa: F401  So that its loggers are there.

    global _inside
    with _lock:
        _inside += 1
        for logger in _loggers():
            logger.addFilter(_filter)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for logger in _loggers():
                    logger.removeFilter(_filter)


def _loggers() -> list[logging.Logger]:
    known = dict(logging.root.manager.loggerDict)
    return [
        logger
        for name, logger in known.items()
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in _LIBRARIES
    ]
