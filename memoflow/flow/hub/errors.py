"""Errors of huggingface_hub and of the Hub: retried, or translated into errors of memoflow's.

No message holds more of a request than the repository and the file: addresses and headers may
carry secrets.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    MemoflowError,
    NotFoundError,
    UsageError,
)
from memoflow.kinds.hub import Wanted
from memoflow.kinds.hub_files import WrongFileError
from memoflow.log import WARNING, Say
from memoflow.units import span


class OfflineError(BackendUnavailableError):
    """The Hub cannot be asked."""


class UnseenError(NotFoundError):
    """The repository does not exist, or is hidden from this user: the Hub answers both alike."""


def translate_error(error: Exception, wanted: Wanted, path: str | None) -> MemoflowError:
    """Return the error of memoflow's for an error of huggingface_hub's, with the remedy."""
    from huggingface_hub import errors

    what = wanted.repo if path is None else f"{path} of {wanted.repo}"
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"{wanted.repo_id!r} cannot be the name of a repository: {error}")
    if isinstance(error, errors.LocalTokenNotFoundError):
        return UsageError(f"{what} was asked for with token=True, and {login(wanted)}")
    if isinstance(error, errors.GatedRepoError):
        return BackendDeniedError(
            f"{wanted.repo} is gated: ask for access on its page on the Hub; {login(wanted)}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return NotFoundError(
            f"{wanted.repo} has no revision {wanted.revision!r} on the Hub: name one of its "
            "branches or tags, or a commit"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return UnseenError(
            f"there is no {wanted.repo} on the Hub, or not for you; if it is private, "
            f"{login(wanted)}"
        )
    if isinstance(error, errors.EntryNotFoundError) and response_of(error) is not None:
        return NotFoundError(f"the Hub lists {what}, and does not have it")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return OfflineError(f"{what} is not to be had: HF_HUB_OFFLINE forbids to ask the Hub")
    answer = response_of(error)
    if answer is not None and answer.status_code in (401, 403):
        return BackendDeniedError(f"the Hub refuses {what} ({answer.status_code}); {login(wanted)}")
    if answer is not None and (wait_s := retry_after_s(answer)):
        return BackendUnavailableError(
            f"the Hub does not give {what}: it answered {answer.status_code} and asks to be left "
            f"alone for {span(wait_s)}"
        )
    if answer is not None:
        return BackendUnavailableError(
            f"the Hub does not give {what}: it answered {answer.status_code} time and again"
        )
    if is_connection_error(error):
        return OfflineError(f"the Hub cannot be reached for {what} ({type(error).__name__})")
    if isinstance(error, OSError):
        if error.errno is None and "onsistency check" in str(error):
            return WrongFileError("of another size than the Hub said")
        where = f" at {error.filename}" if error.filename else ""
        hint = ""
        if isinstance(error, PermissionError):
            hint = "; set HF_HOME or cache_dir to a directory that you may write to"
        return BackendError(
            f"{what} cannot be downloaded: {error.strerror or type(error).__name__}{where}{hint}"
        )
    return BackendError(f"{what} cannot be downloaded: {type(error).__name__}")


def login(wanted: Wanted) -> str:
    """Return the advice on tokens for a repository that refuses access."""
    from huggingface_hub import get_token

    if get_token() is None:
        return "no token was found: set HF_TOKEN or log in with `hf auth login`"
    return f"the token that was found gives no access to {wanted.repo_id}"


T = TypeVar("T")

_TRIES = 6
_TRIES_TO_CONNECT = 3
_LONGEST = timedelta(hours=1)
_TRIES_IN_A_HURRY = 3
_LONGEST_IN_A_HURRY = timedelta(minutes=1)
_PASSING = (408, 429)
# What versions of huggingface_hub make their requests with.
_HTTP_LIBRARIES = ("hf_xet", "httpx", "httpx2", "requests", "urllib3")
# https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-09.html
_NOTHING_LEFT = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(?P<seconds>\d+)")


def with_retries(
    act: Callable[[], T],
    what: str,
    say: Say,
    *,
    has_fallback: Callable[[], bool] = lambda: False,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> T:
    """Call a function until it succeeds, waiting as the Hub asks or exponentially longer.

    Errors of connections and the statuses 408, 429 and 5xx are retried. `has_fallback` is asked
    after a failure: with another way to go on, only short waits are worth it. With `is_cancelled`
    the result is no longer wanted, and the error is raised at once.
    """
    import tenacity

    unreached = 0

    def passes(error: BaseException) -> bool:
        nonlocal unreached
        answer = response_of(error)
        if is_cancelled() or (answer is None and not is_connection_error(error)):
            return False
        if answer is not None:
            if answer.status_code not in _PASSING and answer.status_code < 500:
                return False
            longest = _LONGEST_IN_A_HURRY if has_fallback() else _LONGEST
            if (retry_after_s(answer) or 0) > longest.total_seconds():
                return False
        if getattr(error, "response", None) is None:
            # Nobody is there, or huggingface_hub has tried for a while before it gave up.
            unreached += 1
        return unreached < _TRIES_TO_CONNECT

    longer_each_time = tenacity.wait_exponential(multiplier=0.5) + tenacity.wait_random(0, 0.5)

    def wait(state: tenacity.RetryCallState) -> float:
        asked = retry_after_s(response_of(_failure(state)))
        return longer_each_time(state) if asked is None else asked

    def stop(state: tenacity.RetryCallState) -> bool:
        if state.idle_for > _LONGEST.total_seconds():
            return True
        return state.attempt_number >= (_TRIES_IN_A_HURRY if has_fallback() else _TRIES)

    def tell(state: tenacity.RetryCallState) -> None:
        error = _failure(state)
        answer = response_of(error)
        why = type(error).__name__ if answer is None else f"the Hub answered {answer.status_code}"
        say(f"{what}: {why}; trying again in {span(state.upcoming_sleep)}", WARNING)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=wait,
        stop=stop,
        before_sleep=tell,
        reraise=True,
    )
    return retrying(act)


def retry_after_s(answer: Any) -> float | None:
    """Return the wait in seconds that a response asks for; None if it asks for none."""
    if answer is None:
        return None
    after = answer.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    until, now = _seconds(after), _seconds(answer.headers.get("Date", ""))
    if until is not None:
        # By the clock that set it; a second more, since a date has no less than that.
        return max(0.0, until - (time.time() if now is None else now) + 1)
    match = _NOTHING_LEFT.search(answer.headers.get("RateLimit", ""))
    return None if match is None or answer.status_code != 429 else float(match["seconds"]) + 1


def response_of(error: BaseException) -> Any:
    """Return the HTTP response of an error or of its causes; None if there was none."""
    response = getattr(error, "response", None)
    if response is None and error.__cause__ is not None:
        return response_of(error.__cause__)
    return response


def is_connection_error(error: BaseException) -> bool:
    """Tell whether an error comes from the connection rather than from an answer."""
    module = type(error).__module__.partition(".")[0]
    if module in _HTTP_LIBRARIES or type(error).__name__ == "XetDownloadError":
        return True
    return error.__cause__ is not None and is_connection_error(error.__cause__)


def _failure(state: Any) -> BaseException:
    error: BaseException = state.outcome.exception()
    return error


def _seconds(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
