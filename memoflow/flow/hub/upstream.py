"""Upstream: what the Hub has, asked for and downloaded by huggingface_hub.

Whatever goes wrong there is an error of memoflow's here, whose message holds no more of a request
than the repository and the file: addresses and headers may carry secrets.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    IntegrityError,
    MemoflowError,
    NotFoundError,
    RequestError,
)
from memoflow.flow.hub.meter import Meter
from memoflow.flow.hub.resuming import bring_in, taking
from memoflow.kinds import hub_files
from memoflow.kinds.hub import Resolved, Wanted
from memoflow.kinds.hub_files import Announced, WrongFileError
from memoflow.units import span

T = TypeVar("T")

_TRIES = 6
_TRIES_TO_CONNECT = 3
_PATIENCE = timedelta(minutes=10)
_LONGEST_WAIT_S = 300.0
_PASSING = (408, 429, 500, 502, 503, 504)
# What versions of huggingface_hub make their requests with.
_HTTP_LIBRARIES = ("httpx", "httpx2", "requests", "urllib3")


class OfflineError(BackendUnavailableError):
    """The Hub cannot be asked."""


@dataclass(frozen=True)
class Transfer:
    """How to reach the Hub: arguments of `snapshot_download` that decide nothing but that.

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


class Upstream:
    """The Hub, as one user reaches it."""

    def __init__(self, transfer: Transfer, say: Callable[[str], None]) -> None:
        self._transfer = transfer
        self._say = say

    def resolve(self, wanted: Wanted, *, now: float) -> Resolved:
        """Return the commit that a revision stands for; OfflineError if nobody can be asked."""
        self._check_may_ask(wanted)
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._transfer.endpoint, headers=self._headers())
        with self._told(wanted):
            info = _patiently(
                lambda: api.repo_info(
                    wanted.repo_id,
                    repo_type=wanted.repo_type,
                    revision=wanted.revision,
                    timeout=self._timeout_s(),
                    token=self._transfer.token,
                ),
                wanted.repo,
                self._say,
            )
        commit = str(info.sha)
        if wanted.commit not in (None, commit):
            raise IntegrityError(
                f"asked for commit {wanted.commit} of {wanted.repo}, the Hub answers with {commit}"
            )
        restricted = bool(getattr(info, "private", False) or getattr(info, "gated", False))
        return Resolved(commit, restricted, now)

    def files(self, wanted: Wanted, commit: str) -> list[Announced]:
        """Return the files of a commit that are wanted, with what the Hub announces of each."""
        self._check_may_ask(wanted)
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
            raise RequestError(
                f"none of the {len(listed)} files of {wanted.repo} at {wanted.revision} matches "
                f"allow_patterns={_listed(wanted.allow)} and "
                f"ignore_patterns={_listed(wanted.ignore)}"
            )
        return [file for file in listed if file.path in wanted_paths]

    def _tree(self, wanted: Wanted, commit: str) -> list[Announced]:
        # Not by `HfApi.list_repo_tree`, which waits for ever where the Hub stalls.
        from huggingface_hub import constants
        from huggingface_hub.utils import get_session, hf_raise_for_status

        endpoint = self._transfer.endpoint or constants.ENDPOINT
        page = f"{endpoint}/api/{wanted.repo_type}s/{wanted.repo_id}/tree/{commit}"
        options: dict[str, Any] = {"params": {"recursive": True}}
        found: list[Announced] = []
        seen = set()
        with self._told(wanted):
            while page is not None:
                seen.add(page)

                def ask(page: str = page, options: Any = options) -> Any:
                    answer = get_session().get(
                        page,
                        headers=self._headers(),
                        timeout=self._timeout_s(),
                        **options,
                    )
                    hf_raise_for_status(answer)
                    return answer, answer.json()

                answer, entries = _patiently(ask, wanted.repo, self._say)
                found += [_announced(each) for each in entries if each["type"] == "file"]
                page, options = answer.links.get("next", {}).get("url"), {}
                if page in seen:
                    raise IntegrityError(f"the Hub's list of the files of {wanted.repo} has no end")
        return found

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
            _patiently(
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

        def fetch_one(file: Announced) -> Path:
            return self._fetch_one(wanted, commit, file, meter, force=force)

        with ThreadPoolExecutor(
            max(1, self._transfer.max_workers), thread_name_prefix="memoflow-hub"
        ) as pool:
            futures = [pool.submit(fetch_one, file) for file in files]
            try:
                return {
                    file.path: future.result() for file, future in zip(files, futures, strict=True)
                }
            except BaseException:
                pool.shutdown(cancel_futures=True)  # What the others would fetch is in vain.
                raise

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
        bar = transfer.tqdm_class or meter.bar_class()

        def download() -> str:
            if not force:
                bring_in(
                    wanted,
                    commit,
                    file,
                    cache_dir=self._cache_dir(),
                    endpoint=transfer.endpoint,
                    headers=self._headers(),
                    timeout_s=self._timeout_s(),
                    bar=bar,
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
                force_download=force,
                etag_timeout=self._timeout_s(),
                token=transfer.token,
                headers=None if transfer.headers is None else dict(transfer.headers),
                endpoint=transfer.endpoint,
                **taking(hf_hub_download, tqdm_class=bar),
            )
            return found

        with self._told(wanted, file.path):
            return Path(_patiently(download, f"{file.path} of {wanted.repo}", self._say))

    def _cache_dir(self) -> Path:
        from huggingface_hub import constants

        return Path(self._transfer.cache_dir or constants.HF_HUB_CACHE).expanduser()

    def _timeout_s(self) -> float:
        from huggingface_hub import constants

        return self._transfer.etag_timeout or float(constants.HF_HUB_ETAG_TIMEOUT)

    def _check_may_ask(self, wanted: Wanted) -> None:
        if self._transfer.local_files_only:
            raise OfflineError(f"{wanted.repo} is not to be asked for: local_files_only=True")

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
        """Keep other tasks on this machine from loading the repository in the block."""
        from huggingface_hub.utils import WeakFileLock

        cache = self._cache_dir()
        name = f"memoflow--{wanted.repo_type}--{wanted.repo_id.replace('/', '--')}.lock"
        with self._told(wanted):
            (cache / ".locks").mkdir(parents=True, exist_ok=True)
        with WeakFileLock(cache / ".locks" / name):
            yield

    @contextlib.contextmanager
    def _told(self, wanted: Wanted, path: str | None = None) -> Iterator[None]:
        """Raise what goes wrong in the block as an error of memoflow's."""
        try:
            yield
        except MemoflowError:
            raise
        except Exception as error:
            # Without its cause, whose message has addresses in it.
            raise _told(error, wanted, path) from None


def _announced(entry: Mapping[str, Any]) -> Announced:
    lfs = entry.get("lfs")
    if lfs:
        return Announced(entry["path"], int(lfs["size"]), f"sha256:{lfs['oid']}")
    return Announced(entry["path"], int(entry["size"]), f"git:{entry['oid']}")


def _patiently(act: Callable[[], T], what: str, say: Callable[[str], None]) -> T:
    """Try again after what passes, when the Hub asks for it or after longer each time."""
    import tenacity

    unreached = 0

    def passes(error: BaseException) -> bool:
        nonlocal unreached
        answer = _answer(error)
        if answer is None and not _is_of_a_connection(error):
            return False
        if answer is not None and answer.status_code not in _PASSING:
            return False
        if getattr(error, "response", None) is None:
            # Nobody is there, or huggingface_hub has tried for a while before it gave up.
            unreached += 1
        return unreached < _TRIES_TO_CONNECT

    longer_each_time = tenacity.wait_exponential(multiplier=0.5) + tenacity.wait_random(0, 0.5)

    def wait(state: tenacity.RetryCallState) -> float:
        answer = _answer(_failure(state))
        after = "" if answer is None else answer.headers.get("Retry-After", "")
        return min(float(after), _LONGEST_WAIT_S) if after.isdigit() else longer_each_time(state)

    def tell(state: tenacity.RetryCallState) -> None:
        error = _failure(state)
        answer = _answer(error)
        why = type(error).__name__ if answer is None else f"the Hub answered {answer.status_code}"
        say(f"{what}: {why}; trying again in {span(state.upcoming_sleep)}")

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=wait,
        stop=tenacity.stop_after_attempt(_TRIES) | tenacity.stop_after_delay(_PATIENCE),
        before_sleep=tell,
        reraise=True,
    )
    return retrying(act)


def _failure(state: Any) -> BaseException:
    error: BaseException = state.outcome.exception()
    return error


def _answer(error: BaseException) -> Any:
    """Return the response behind an error; huggingface_hub wraps some errors in others."""
    response = getattr(error, "response", None)
    if response is None and error.__cause__ is not None:
        return _answer(error.__cause__)
    return response


def _is_of_a_connection(error: BaseException) -> bool:
    if type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES:
        return True
    return error.__cause__ is not None and _is_of_a_connection(error.__cause__)


def _told(error: Exception, wanted: Wanted, path: str | None) -> MemoflowError:
    """Return an error of memoflow's that says what an error of huggingface_hub's means."""
    from huggingface_hub import errors

    what = wanted.repo if path is None else f"{path} of {wanted.repo}"
    if isinstance(error, errors.HFValidationError):
        return RequestError(f"{wanted.repo_id!r} cannot be the name of a repository: {error}")
    if isinstance(error, errors.GatedRepoError):
        return BackendDeniedError(
            f"{wanted.repo} is gated: ask for access on its page on the Hub; {_login(wanted)}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return NotFoundError(
            f"{wanted.repo} has no revision {wanted.revision!r} on the Hub: name one of its "
            "branches or tags, or a commit"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotFoundError(
            f"there is no {wanted.repo} on the Hub, or not for you; if it is private, "
            f"{_login(wanted)}"
        )
    if isinstance(error, errors.EntryNotFoundError) and _answer(error) is not None:
        return NotFoundError(f"the Hub lists {what}, and does not have it")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return OfflineError(f"{what} is not to be had: HF_HUB_OFFLINE forbids to ask the Hub")
    answer = _answer(error)
    if answer is not None and answer.status_code in (401, 403):
        return BackendDeniedError(
            f"the Hub refuses {what} ({answer.status_code}); {_login(wanted)}"
        )
    if answer is not None:
        return BackendUnavailableError(
            f"the Hub does not give {what}: it answered {answer.status_code} time and again"
        )
    if _is_of_a_connection(error):
        return OfflineError(f"the Hub cannot be reached for {what} ({type(error).__name__})")
    if isinstance(error, OSError):
        if error.errno is None and "onsistency check" in str(error):
            return WrongFileError("of another size than the Hub said")
        where = f" at {error.filename}" if error.filename else ""
        return BackendError(
            f"{what} cannot be downloaded: {error.strerror or type(error).__name__}{where}"
        )
    return BackendError(f"{what} cannot be downloaded: {type(error).__name__}")


def _login(wanted: Wanted) -> str:
    from huggingface_hub import get_token

    if get_token() is None:
        return "no token was found: set HF_TOKEN or log in with `hf auth login`"
    return f"the token that was found gives no access to {wanted.repo_id}"


def _listed(patterns: Sequence[str] | None) -> str:
    return "None" if patterns is None else repr(list(patterns))
