"""Failures of Azure as errors of ours, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    DeserializationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
)

_TORN = (RequestException, HTTPError, HTTPException, OSError)  # as they come out of the client
_ENDPOINT = "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT"


def code_of(error: BaseException | None) -> str:
    """Return Azure's own word for an error; "" if it has none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


@contextmanager
def explained(verb: str, url: str) -> Iterator[None]:
    """Turn an error of the Azure client inside into a BackendError with a remedy."""
    what = f"cannot {verb} {url}"
    try:
        yield
    except ClientAuthenticationError as error:
        raise _of_login(error, what) from error
    # Of which the first is an HttpResponseError as well, of whatever status.
    except (DecodeError, DeserializationError, *_TORN) as error:
        raise BackendUnavailableError(
            f"{what}: the answer is cut short or garbled ({type(error).__name__}: "
            f"{_first_line(error)}); it may work later"
        ) from error
    except HttpResponseError as error:
        raise _of_answer(error, what) from error
    except ServiceRequestError as error:
        raise BackendUnreachableError(
            f"{what}: {_first_line(error)}; check {_ENDPOINT} and the network"
        ) from error
    except ServiceResponseError as error:
        kind = BackendUnavailableError
        if "timed out" in str(error).lower():  # Older ones have no class for that.
            kind = BackendUnreachableError
        raise kind(f"{what}: {_first_line(error)}; it may work later") from error
    except AzureError as error:
        raise BackendError(f"{what}: {_first_line(error)}") from error


def _of_login(error: ClientAuthenticationError, what: str) -> BackendError:
    what = f"{what}: {_first_line(error)}"
    if error.status_code == 403:
        return _of_answer(error, what)
    return BackendDeniedError(
        f"{what}; log in (az login), or give Azure credentials (AZURE_CLIENT_ID, AZURE_TENANT_ID, "
        "AZURE_CLIENT_SECRET, or an identity)"
    )


def _of_answer(error: HttpResponseError, what: str) -> BackendError:
    code, status = code_of(error), error.status_code or 0
    what = f"{what}: {code or _first_line(error)}"
    if code in {"ContainerNotFound", "ContainerBeingDeleted"}:
        return BackendDeniedError(f"{what}; create the container, or name another")
    if code in {"AuthenticationFailed", "InvalidAuthenticationInfo"}:
        return BackendDeniedError(
            f"{what}; renew or correct the Azure credentials, and see that the clock is right"
        )
    if status in (401, 403):
        return BackendDeniedError(
            f"{what}; give who runs this the role Storage Blob Data Contributor, and see that the "
            "network rules of the account let this machine in"
        )
    if status >= 500 or status in (408, 429):
        return BackendUnavailableError(f"{what}; it may work later")
    return BackendError(what)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
