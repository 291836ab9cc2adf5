"""Errors of the Hub: each names the repository, and the remedy if there is one."""

from __future__ import annotations

import pytest
from huggingface_hub import errors

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    MemoflowError,
    NotFoundError,
    UsageError,
)
from memoflow.flow.hub.errors import OfflineError, UnseenError, translate_error
from memoflow.kinds.hub import Wanted
from memoflow.kinds.hub_files import WrongFileError

WANTED = Wanted("org/name", revision="v2")


class Answer:
    """As much of a response of the Hub as errors look at."""

    def __init__(self, status_code: int, headers: dict[str, str] | None = None) -> None:
        self.status_code = status_code
        self.headers = headers or {}


def answered(kind: type[Exception], status: int, **headers: str) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "https://hf.co/?token=hf_secret")
    error.response = Answer(status, headers)  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (errors.HFValidationError("no"), UsageError, "cannot be the name of a repository"),
        (errors.LocalTokenNotFoundError("no"), UsageError, "token=True"),
        (answered(errors.GatedRepoError, 403), BackendDeniedError, "is gated: ask for access"),
        (answered(errors.RevisionNotFoundError, 404), NotFoundError, "no revision 'v2'"),
        (answered(errors.RepositoryNotFoundError, 404), UnseenError, "or not for you"),
        (answered(errors.EntryNotFoundError, 404), NotFoundError, "does not have it"),
        (errors.OfflineModeIsEnabled("no"), OfflineError, "HF_HUB_OFFLINE"),
        (answered(errors.HfHubHTTPError, 401), BackendDeniedError, r"refuses .* \(401\)"),
        (answered(errors.HfHubHTTPError, 500), BackendUnavailableError, "answered 500"),
        (OSError("Consistency check failed"), WrongFileError, "another size"),
        (PermissionError(13, "Permission denied", "/x"), BackendError, "at /x; set HF_HOME"),
        (RuntimeError("secret"), BackendError, "RuntimeError"),
    ],
)
def test_each_says_what_is_wrong(error: Exception, kind: type[MemoflowError], says: str) -> None:
    with pytest.raises(kind, match=says) as raised:
        raise translate_error(error, WANTED, None)
    assert "secret" not in str(raised.value)


def test_a_file_is_named_with_its_repository() -> None:
    found = translate_error(RuntimeError(), WANTED, "config.json")
    assert str(found).startswith("config.json of ")
    assert "org/name" in str(found)


def test_a_server_that_asks_to_be_left_alone_is_quoted() -> None:
    error = answered(errors.HfHubHTTPError, 429, **{"Retry-After": "120"})
    assert "left alone for 2" in str(translate_error(error, WANTED, None))
