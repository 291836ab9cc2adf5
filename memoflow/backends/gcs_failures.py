"""Failures of GCS as errors of ours, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from json import JSONDecodeError

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.resumable_media.common import DataCorruption, InvalidResponse
from requests.exceptions import (
    ConnectionError,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    RequestException,
    Timeout,
)
from urllib3.exceptions import HTTPError, ProtocolError

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
)


@contextmanager
def explained(verb: str, url: str) -> Iterator[None]:
    """Turn an error of the Google client inside into a BackendError with a remedy."""
    what = f"cannot {verb} {url}"
    try:
        yield
    except GoogleAPICallError as error:
        raise _of_answer(error, what) from error
    except RetryError as error:
        raise _of_network(error.cause or error, what) from error
    except DefaultCredentialsError as error:
        raise BackendDeniedError(
            f"{what}: {error}; give Google credentials (gcloud auth application-default login, "
            "GOOGLE_APPLICATION_CREDENTIALS, or a service account)"
        ) from error
    except TransportError as error:
        raise BackendUnavailableError(f"{what}: {error}; it may work later") from error
    except GoogleAuthError as error:
        raise BackendDeniedError(
            f"{what}: {error}; renew or correct the Google credentials"
        ) from error
    except (DataCorruption, InvalidResponse) as error:
        raise BackendUnavailableError(
            f"{what}: what arrived is not what was sent; it may work later"
        ) from error
    except (InvalidURL, MissingSchema, InvalidSchema) as error:
        raise BackendDeniedError(f"{what}: {error}; check STORAGE_EMULATOR_HOST") from error
    except (RequestException, HTTPError, HTTPException, OSError, JSONDecodeError) as error:
        raise _of_network(error, what) from error


def _of_network(error: BaseException, what: str) -> BackendError:
    if isinstance(error, (GoogleAPICallError, InvalidResponse)):
        return BackendUnavailableError(f"{what}: {error}; it may work later")
    # Of an answer that broke off the client says the same as of a server that is not there.
    broke_off = isinstance(error.args[0] if error.args else None, ProtocolError)
    if isinstance(error, (Timeout, TimeoutError)) or (
        isinstance(error, ConnectionError) and not broke_off
    ):
        return BackendUnreachableError(
            f"{what}: {error}; check the network, and STORAGE_EMULATOR_HOST if that is set"
        )
    return BackendUnavailableError(
        f"{what}: the answer is cut short or garbled ({type(error).__name__}: {error}); it may "
        "work later"
    )


def is_no_bucket(error: GoogleAPICallError) -> bool:
    """Tell a bucket that is not there from an object that is not."""
    return "bucket does not exist" in str(error.message)


def _of_answer(error: GoogleAPICallError, what: str) -> BackendError:
    status = int(error.code or 0)
    what = f"{what}: {error.message or status}"
    if is_no_bucket(error):
        return BackendDeniedError(f"{what}; create the bucket, or name another")
    if status == 401:
        return BackendDeniedError(f"{what}; renew or correct the Google credentials")
    if status == 403:
        return BackendDeniedError(
            f"{what}; give who runs this the role Storage Object User in the bucket"
        )
    if status >= 500 or status in (408, 429):
        return BackendUnavailableError(f"{what}; it may work later")
    return BackendError(what)
