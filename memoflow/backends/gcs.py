"""GCS: a backend in a bucket of Google Cloud Storage, on google-cloud-storage.

Conditions are `if_generation_match=0`. Uploads that were never ended go by themselves in a week.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPException
from json import JSONDecodeError
from typing import Any

from google.api_core.exceptions import (
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
    RetryError,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud.storage.retry import DEFAULT_RETRY
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

from memoflow.backends.bucket import Bucket, Head, TornError, garbled, of_status
from memoflow.backends.spans import PART_BYTES, SPAN_BYTES
from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
)

_LONGEST_COPY = 10_000  # requests, each of which copies a part; most copies take one


class Gcs(Bucket):
    """Keep each name as an object of a bucket, below a prefix.

    `connect` makes a Client of google-cloud-storage. `patience_s` is how long a request is
    repeated.
    """

    service = "GCS"
    scheme = "gs"
    refusals = (PreconditionFailed,)

    def __init__(
        self, connect: Callable[[], Any], bucket: str, prefix: str = "", *, patience_s: float = 40
    ) -> None:
        super().__init__(connect, bucket, prefix)
        # Every request of ours can be repeated: what may not be done twice carries a condition.
        retry = DEFAULT_RETRY.with_delay(initial=0.1, maximum=8).with_timeout(patience_s)
        self._patience = {"timeout": 30, "retry": retry}

    def failure(self, error: Exception, what: str) -> BackendError | None:
        if isinstance(error, GoogleAPICallError):
            return _of_answer(error, what)
        if isinstance(error, RetryError):
            return _of_network(error.cause or error, what)
        if isinstance(error, DefaultCredentialsError):
            return BackendDeniedError(
                f"{what}: {error}; give Google credentials (gcloud auth application-default login, "
                "GOOGLE_APPLICATION_CREDENTIALS, or a service account)"
            )
        if isinstance(error, TransportError):
            return BackendUnavailableError(f"{what}: {error}; it may work later")
        if isinstance(error, GoogleAuthError):
            return BackendDeniedError(f"{what}: {error}; renew or correct the Google credentials")
        if isinstance(error, (DataCorruption, InvalidResponse)):
            return BackendUnavailableError(
                f"{what}: the received bytes differ from the sent ones; it may work later"
            )
        if isinstance(error, (InvalidURL, MissingSchema, InvalidSchema)):
            return BackendDeniedError(f"{what}: {error}; check STORAGE_EMULATOR_HOST")
        is_network = isinstance(
            error, (RequestException, HTTPError, HTTPException, OSError, JSONDecodeError)
        )
        return _of_network(error, what) if is_network else None

    def head(self, name: str) -> Head | None:
        blob = self._blob(name)
        try:
            blob.reload(**self._patience)
        except NotFound as error:
            if _is_no_bucket(error):
                raise
            return None
        return Head(blob.size or 0, blob.metadata or {})

    def get(self, name: str, most_bytes: int) -> tuple[bytes, Mapping[str, str]] | None:
        # What was said of it does not come with it; its CRC does, and is checked by the client.
        data = self._get(name, most_bytes)
        return None if data is None else (data, {})

    def get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        try:
            data = self._get(name, SPAN_BYTES, start=start, end=start + SPAN_BYTES - 1)
        except RequestRangeNotSatisfiable:
            return b"", 0
        if data is None:
            return None
        if start or len(data) < SPAN_BYTES:
            return data, start + len(data)
        # The size of all does not come with it either; it is asked for if this was not all.
        head = self.head(name)
        return None if head is None else (data, head.size_bytes)

    def put(self, name: str, data: bytes, said: Mapping[str, str], *, if_absent: bool) -> None:
        blob = self._blob(name)
        blob.metadata = dict(said)
        blob.upload_from_string(data, **self._upload_options(if_absent))

    def upload(self, name: str, parts: Iterator[bytearray], *, if_absent: bool) -> bool:
        blob = self._blob(name)
        nonce = uuid.uuid4().hex
        blob.metadata = {"nonce": nonce}
        blob.chunk_size = PART_BYTES

        # Not `patiently`, as parts come once: the client sends again what did not arrive.
        with self.explained("write", name):
            try:
                blob.upload_from_file(_Stream(parts), **self._upload_options(if_absent))
                return True
            except PreconditionFailed:
                pass
        head = self.patiently("read", name, self.head, name)
        return head is not None and head.said.get("nonce") == nonce

    def copy(self, name: str, there: Bucket, source: str) -> bool:
        if not isinstance(there, Gcs) or self._api != there._api:
            return False
        head = there.head_to_copy(source)
        blob, token = self._blob(name), None
        blob.metadata = dict(head.said)  # A copy does not take it along where anything is said.

        def copy(token: Any) -> Any:
            return blob.rewrite(there._blob(source), token=token, **self._patience)[0]

        for _ in range(_LONGEST_COPY):
            token = self.patiently("copy to", name, copy, token)
            if token is None:
                return True
        raise BackendUnavailableError(
            f"cannot copy to {self.url(name)}: it takes too long; it may work later"
        )

    def page(self, start: str, token: str) -> tuple[Any, str | None]:
        listed = self.client.list_blobs(
            self.bucket,
            prefix=start,
            page_token=token or None,
            fields="items(name,size,updated,generation),nextPageToken",
            **self._patience,
        )
        found = [
            (each.name, each.size, each.updated.timestamp(), str(each.generation))
            for each in next(listed.pages, ())
        ]
        return found, listed.next_page_token

    def delete_batch(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                self.client.bucket(self.bucket).blob(key).delete(**self._patience)
            except NotFound as error:
                if _is_no_bucket(error):
                    raise

    def _upload_options(self, if_absent: bool) -> dict[str, Any]:
        return {
            "content_type": "application/octet-stream",
            "client": self.client,
            "if_generation_match": 0 if if_absent else None,
            **self._patience,
        }

    @property
    def _api(self) -> str:
        return str(self.client._connection.API_BASE_URL)

    def _blob(self, name: str) -> Any:
        return self.client.bucket(self.bucket).blob(self.key(name))

    def _get(self, name: str, most_bytes: int, **asked: int) -> bytes | None:
        blob, into = self._blob(name), _Capped(most_bytes + 1)
        try:
            blob.download_to_file(into, client=self.client, **asked, **self._patience)
            return into.getvalue()
        except _FullError:
            return into.getvalue()
        except NotFound as error:
            if _is_no_bucket(error):
                raise
            return None
        except DataCorruption as error:
            raise TornError(str(error).partition("\n")[0]) from error


class _FullError(Exception):
    """More bytes came than were wanted."""


class _Capped(io.BytesIO):
    """A buffer for a download, up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes

    def write(self, data: Any) -> int:
        view = memoryview(data)
        count = super().write(view[: self._most_bytes - self.tell()])
        if count < len(view):
            raise _FullError
        return count


class _Stream(io.RawIOBase):
    """A file that the client uploads: parts in order, each read once."""

    def __init__(self, parts: Iterator[bytearray]) -> None:
        self._parts = parts
        self._at = 0

    def tell(self) -> int:
        return self._at

    def read(self, size_bytes: int = -1) -> bytes:
        # Parts are as large as what is asked for; only the last is smaller.
        part = next(self._parts, b"")
        self._at += len(part)
        return bytes(part)


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
    return garbled(what, error)


def _is_no_bucket(error: GoogleAPICallError) -> bool:
    """Tell a bucket that is not there from an object that is not."""
    return "bucket does not exist" in str(error.message)


def _of_answer(error: GoogleAPICallError, what: str) -> BackendError:
    status = int(error.code or 0)
    what = f"{what}: {error.message or status}"
    if _is_no_bucket(error):
        return BackendDeniedError(f"{what}; create the bucket, or name another")
    if status == 401:
        return BackendDeniedError(f"{what}; renew or correct the Google credentials")
    if status == 403:
        return BackendDeniedError(
            f"{what}; give the account that runs this the role Storage Object User in the bucket"
        )
    return of_status(what, status)
