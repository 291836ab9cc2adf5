"""Errors of huggingface_hub and of the Hub, translated into errors of memoflow's.

No message holds more of a request than the repository and the file: addresses and headers may
carry secrets.
"""

from __future__ import annotations

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    MemoflowError,
    NotFoundError,
    UsageError,
)
from memoflow.flow.hub.retry import is_connection_error, response_of, retry_after_s
from memoflow.kinds.hub import Wanted
from memoflow.kinds.hub_files import WrongFileError
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
