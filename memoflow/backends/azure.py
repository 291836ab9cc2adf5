"""Azure: a backend in a container of Azure Blob Storage, on azure-storage-blob.

Conditions are `If-None-Match: *`. Blocks that were never committed go by themselves in a week.
"""

from __future__ import annotations

import time
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    DeserializationError,
    HttpResponseError,
    IncompleteReadError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import BlobBlock
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from memoflow.backends.bucket import Bucket, Head, TornError, garbled, of_status
from memoflow.backends.spans import SPAN_BYTES, send_all
from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
    NotFoundError,
)

_EMPTY = 416  # as a span of nothing is answered
_GONE = (202, 404)
_FOLDER = "hdi_isfolder"  # said of the folders of accounts that have a hierarchy
_LOST_BLOCKS = {"InvalidBlockList", "InvalidBlobOrBlock"}
_COPY_PATIENCE_S = 600
_TORN = (RequestException, HTTPError, HTTPException, OSError)  # as they come out of the client
_ENDPOINT = "METAFLOW_AZURE_STORAGE_BLOB_SERVICE_ENDPOINT"


class Azure(Bucket):
    """Keep each name as a block blob of a container, below a prefix.

    `connect` makes a BlobServiceClient.
    """

    service = "Azure"
    scheme = "azure"
    batch = 256
    refusals = (ResourceExistsError, ResourceModifiedError)

    def failure(self, error: Exception, what: str) -> BackendError | None:
        if isinstance(error, ClientAuthenticationError):
            return _of_login(error, what)
        # Of which the first is an HttpResponseError as well, of whatever status.
        if isinstance(error, (DecodeError, DeserializationError, *_TORN)):
            return garbled(what, error, _first_line(error))
        if isinstance(error, HttpResponseError):
            return _of_answer(error, what)
        if isinstance(error, ServiceRequestError):
            return BackendUnreachableError(
                f"{what}: {_first_line(error)}; check {_ENDPOINT} and the network"
            )
        if isinstance(error, ServiceResponseError):
            # Older ones have no class for that.
            is_silent = "timed out" in str(error).lower()
            kind = BackendUnreachableError if is_silent else BackendUnavailableError
            return kind(f"{what}: {_first_line(error)}; it may work later")
        if isinstance(error, AzureError):
            return BackendError(f"{what}: {_first_line(error)}")
        return None

    def head(self, name: str) -> Head | None:
        try:
            told = self._blob(name).get_blob_properties()
        except ResourceNotFoundError as error:
            if _is_no_container(error):
                raise
            return None
        return None if _is_folder(told) else Head(told.size, told.metadata or {})

    def get(self, name: str, most_bytes: int) -> tuple[bytes, Mapping[str, str]] | None:
        found = self._get(name, most_bytes)
        if found is None or _is_folder(found[1]):
            return None
        return found[0], found[1].metadata or {}

    def get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        try:
            found = self._get(name, SPAN_BYTES, offset=start, length=SPAN_BYTES)
        except HttpResponseError as error:
            if error.status_code == _EMPTY:
                return None if self.head(name) is None else (b"", 0)
            raise
        if found is None:
            return None
        data, told = found
        return data, int(str(told.content_range or f"/{len(data)}").rpartition("/")[2])

    def put(self, name: str, data: bytes, said: Mapping[str, str], *, if_absent: bool) -> None:
        self._blob(name).upload_blob(
            data, length=len(data), overwrite=not if_absent, metadata=dict(said)
        )

    def upload(self, name: str, parts: Iterator[bytearray], *, if_absent: bool) -> bool:
        nonce = uuid.uuid4().hex
        blob = self._blob(name)

        def send(number: int, part: bytearray) -> Any:
            # Others may be sending blocks of the same name: theirs must be called otherwise.
            block = b64encode(f"{nonce}-{number:06}".encode()).decode()
            self.patiently("write", name, blob.stage_block, block, bytes(part), length=len(part))
            return BlobBlock(block)

        def commit() -> None:
            condition = MatchConditions.IfMissing if if_absent else None
            blob.commit_block_list(blocks, metadata={"nonce": nonce}, match_condition=condition)

        blocks = send_all(parts, send)
        try:
            return self.conditionally(name, nonce, commit)
        except BackendError as error:
            if _code_of(error.__cause__) not in _LOST_BLOCKS:
                raise
        # Whoever commits to a name first drops the blocks that others have sent for it; it may
        # have been a try of our own, without an answer.
        head = self.patiently("read", name, self.head, name)
        if head is None:
            raise BackendUnavailableError(
                f"cannot write {self.url(name)}: what was sent of it was dropped, since others "
                "wrote and deleted it meanwhile; run again"
            )
        # As if we had been a moment earlier than they.
        return not if_absent or head.said.get("nonce") == nonce

    def copy(self, name: str, there: Bucket, source: str) -> bool:
        if not isinstance(there, Azure) or self.client.url != there.client.url:
            return False
        target = self._blob(name)

        def start() -> Any:
            try:
                return target.start_copy_from_url(there._blob(source).url)
            except ResourceNotFoundError as error:
                if _is_no_container(error):
                    raise
                raise NotFoundError(
                    f"{there.url(source)} went away before it could be adopted"
                ) from error

        told = self.patiently("copy to", name, start)
        status, deadline = told["copy_status"], time.monotonic() + _COPY_PATIENCE_S
        while status == "pending" and time.monotonic() < deadline:
            time.sleep(0.2)
            now = self.patiently("copy to", name, target.get_blob_properties)
            status = now.copy.status
        if status != "success":
            with self.explained("give up to copy to", name), suppress(HttpResponseError):
                target.abort_copy(told["copy_id"])
            self.delete([name])  # Until it is whole a copy has its name, too.
            raise BackendUnavailableError(
                f"cannot copy to {self.url(name)}: the copy is {status}; it may work later"
            )
        return True

    def page(self, start: str, token: str) -> tuple[Any, str | None]:
        pages = self._container.list_blobs(name_starts_with=start, include=["metadata"]).by_page(
            continuation_token=token or None
        )
        found = [
            (each.name, each.size, each.last_modified.timestamp(), each.etag)
            for each in next(pages, ())
            if not _is_folder(each)
        ]
        return found, pages.continuation_token or None

    def delete_batch(self, keys: Sequence[str]) -> None:
        if len(keys) == 1:
            with suppress(ResourceNotFoundError):
                self._container.delete_blob(keys[0])
            return
        for answer in self._container.delete_blobs(*keys, raise_on_any_failure=False):
            if answer.status_code not in _GONE:
                raise HttpResponseError(response=answer)

    @property
    def _container(self) -> Any:
        return self.client.get_container_client(self.bucket)

    def _blob(self, name: str) -> Any:
        return self._container.get_blob_client(self.key(name))

    def _get(self, name: str, most_bytes: int, **asked: int) -> tuple[bytes, Any] | None:
        """Return a blob's bytes and properties; None if there is none."""
        try:
            answer = self._blob(name).download_blob(**asked)
            if answer.size > most_bytes:
                return answer.read(most_bytes + 1), answer.properties
            return answer.readall(), answer.properties
        except ResourceNotFoundError as error:
            if _is_no_container(error):
                raise
            return None
        except HttpResponseError as error:
            if isinstance(error, IncompleteReadError) or error.response is None:
                raise TornError(str(error)) from error  # It broke on its way.
            raise


def _is_folder(told: Any) -> bool:
    return (told.metadata or {}).get(_FOLDER) == "true"


def _is_no_container(error: HttpResponseError) -> bool:
    return _code_of(error) in {"ContainerNotFound", "ContainerBeingDeleted"}


def _code_of(error: BaseException | None) -> str:
    """Return Azure's own word for an error; "" if it has none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _of_login(error: ClientAuthenticationError, what: str) -> BackendError:
    what = f"{what}: {_first_line(error)}"
    if error.status_code == 403:
        return _of_answer(error, what)
    return BackendDeniedError(
        f"{what}; log in (az login), or give Azure credentials (AZURE_CLIENT_ID, AZURE_TENANT_ID, "
        "AZURE_CLIENT_SECRET, or an identity)"
    )


def _of_answer(error: HttpResponseError, what: str) -> BackendError:
    code, status = _code_of(error), error.status_code or 0
    what = f"{what}: {code or _first_line(error)}"
    if _is_no_container(error):
        return BackendDeniedError(f"{what}; create the container, or name another")
    if code in {"AuthenticationFailed", "InvalidAuthenticationInfo"}:
        return BackendDeniedError(
            f"{what}; renew or correct the Azure credentials, and see that the clock is right"
        )
    if status in (401, 403):
        return BackendDeniedError(
            f"{what}; give the account that runs this the role Storage Blob Data "
            "Contributor, and see that the network rules of the account let this machine in"
        )
    return of_status(what, status)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
