"""Failures of S3 as errors of ours, each with its remedy."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    IncompleteReadError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError, TimeoutError

from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
)

_LOGIN = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_SKEW = {"RequestTimeTooSkewed"}
# What comes out of botocore as it is where an answer breaks while its body is read: of one that
# is streamed it reads an error's body outside of all that it catches.
_SILENCE = (TimeoutError, builtins.TimeoutError)
_TORN = (HTTPError, HTTPException, OSError, IncompleteReadError, ResponseParserError)


def status_of(error: ClientError) -> int:
    """Return the HTTP status of an error answer, or of its code; 0 if unknown."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = error.response.get("Error", {}).get("Code", "")
    return int(status or (code if str(code).isdigit() else 0))


@contextmanager
def explained(verb: str, url: str) -> Iterator[None]:
    """Turn an error of boto3 inside into a BackendError with a remedy."""
    what = f"cannot {verb} {url}"
    try:
        yield
    except ClientError as error:
        raise _of_answer(error, what) from error
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise BackendDeniedError(
            f"{what}: {error}; give AWS credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, or a role)"
        ) from error
    except (NoRegionError, InvalidRegionError) as error:
        raise BackendDeniedError(f"{what}: {error}; set AWS_DEFAULT_REGION") from error
    # Before those that follow, of which it is one as well: so is what botocore says of silence.
    except (ConnectionError, ReadTimeoutError, *_SILENCE) as error:
        raise BackendUnreachableError(
            f"{what}: {error}; check METAFLOW_S3_ENDPOINT_URL and the network"
        ) from error
    except (HTTPClientError, *_TORN) as error:
        raise BackendUnavailableError(
            f"{what}: the answer is cut short or garbled ({type(error).__name__}: {error}); it "
            "may work later"
        ) from error
    except BotoCoreError as error:
        raise BackendError(f"{what}: {error}") from error
    except ValueError as error:  # An endpoint that is no URL; boto3 has no class for that.
        raise BackendDeniedError(f"{what}: {error}; check METAFLOW_S3_ENDPOINT_URL") from error


def _of_answer(error: ClientError, what: str) -> BackendError:
    told = error.response.get("Error", {})
    code, status = str(told.get("Code", "")), status_of(error)
    what = f"{what}: {told.get('Message') or code or status}"
    if code == "NoSuchBucket":
        return BackendDeniedError(f"{what}; create the bucket, or name another")
    if code in _SKEW:
        return BackendDeniedError(f"{what}; set the clock of this machine")
    if code in _LOGIN or status == 401:
        return BackendDeniedError(f"{what}; renew or correct the AWS credentials")
    if status == 403 or code == "AccessDenied":
        return BackendDeniedError(f"{what}; allow it in the policy of who runs this")
    if status >= 500 or status in (408, 429) or code in {"SlowDown", "RequestTimeout"}:
        return BackendUnavailableError(f"{what}; it may work later")
    return BackendError(f"{what} ({code})")
