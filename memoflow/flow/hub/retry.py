"""Patience: trying again what passes, for as long as the Hub asks for, but not for ever."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from memoflow.units import span

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


def patiently(
    act: Callable[[], T],
    what: str,
    say: Callable[[str], None],
    *,
    in_a_hurry: Callable[[], bool] = lambda: False,
    in_vain: Callable[[], bool] = lambda: False,
) -> T:
    """Try again after what passes, when the Hub asks for it or after longer each time.

    `in_a_hurry` tells, once something has failed, that there is another way, so that it is not
    worth a long wait; `in_vain`, that nobody wants it any more.
    """
    import tenacity

    unreached = 0

    def passes(error: BaseException) -> bool:
        nonlocal unreached
        answer = answer_behind(error)
        if in_vain() or (answer is None and not is_of_a_connection(error)):
            return False
        if answer is not None:
            if answer.status_code not in _PASSING and answer.status_code < 500:
                return False
            longest = _LONGEST_IN_A_HURRY if in_a_hurry() else _LONGEST
            if (asked_wait_s(answer) or 0) > longest.total_seconds():
                return False
        if getattr(error, "response", None) is None:
            # Nobody is there, or huggingface_hub has tried for a while before it gave up.
            unreached += 1
        return unreached < _TRIES_TO_CONNECT

    longer_each_time = tenacity.wait_exponential(multiplier=0.5) + tenacity.wait_random(0, 0.5)

    def wait(state: tenacity.RetryCallState) -> float:
        asked = asked_wait_s(answer_behind(_failure(state)))
        return longer_each_time(state) if asked is None else asked

    def stop(state: tenacity.RetryCallState) -> bool:
        if state.idle_for > _LONGEST.total_seconds():
            return True
        return state.attempt_number >= (_TRIES_IN_A_HURRY if in_a_hurry() else _TRIES)

    def tell(state: tenacity.RetryCallState) -> None:
        error = _failure(state)
        answer = answer_behind(error)
        why = type(error).__name__ if answer is None else f"the Hub answered {answer.status_code}"
        say(f"{what}: {why}; trying again in {span(state.upcoming_sleep)}")

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=wait,
        stop=stop,
        before_sleep=tell,
        reraise=True,
    )
    return retrying(act)


def asked_wait_s(answer: Any) -> float | None:
    """Return for how long a response asks to be left alone; None if it does not say."""
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


def answer_behind(error: BaseException) -> Any:
    """Return the response behind an error; huggingface_hub wraps some errors in others."""
    response = getattr(error, "response", None)
    if response is None and error.__cause__ is not None:
        return answer_behind(error.__cause__)
    return response


def is_of_a_connection(error: BaseException) -> bool:
    """Tell whether an error is of what carries requests, not of what an answer says."""
    module = type(error).__module__.partition(".")[0]
    if module in _HTTP_LIBRARIES or type(error).__name__ == "XetDownloadError":
        return True
    return error.__cause__ is not None and is_of_a_connection(error.__cause__)


def _failure(state: Any) -> BaseException:
    error: BaseException = state.outcome.exception()
    return error


def _seconds(date: str) -> float | None:
    try:
        found = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
