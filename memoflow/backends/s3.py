"""S3: a backend in a bucket, on boto3, for servers that speak the protocol of Amazon's.

Conditions are `If-None-Match: *`, which older servers ignore.
"""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPException
from typing import Any

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

from memoflow.backends.bucket import Bucket, Head, TakenError, TornError, garbled
from memoflow.backends.spans import SPAN_BYTES, send_all
from memoflow.errors import (
    BackendDeniedError,
    BackendError,
    BackendUnavailableError,
    BackendUnreachableError,
)

_LARGEST_COPY_BYTES = 5 << 30  # in one request
_ABSENT = 404
_EMPTY = 416  # as a span of nothing is answered
_TAKEN = 412
_CONFLICT = 409
_LOGIN = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
# What comes out of botocore as it is where an answer breaks while its body is read: of one that
# is streamed it reads an error's body outside of all that it catches.
_SILENCE = (TimeoutError, builtins.TimeoutError)
_TORN = (HTTPError, HTTPException, OSError, IncompleteReadError, ResponseParserError)


class S3(Bucket):
    """Keep each name as an object of a bucket, below a prefix.

    `connect` makes a boto3 client. `encryption` are the arguments of a PUT that ask for encryption
    on the server.
    """

    service = "S3"
    scheme = "s3"
    batch = 1000

    def __init__(
        self,
        connect: Callable[[], Any],
        bucket: str,
        prefix: str = "",
        *,
        encryption: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(connect, bucket, prefix)
        self._encryption = dict(encryption or {})

    def failure(self, error: Exception, what: str) -> BackendError | None:
        if isinstance(error, ClientError):
            return _of_answer(error, what)
        if isinstance(error, (NoCredentialsError, PartialCredentialsError, ProfileNotFound)):
            return BackendDeniedError(
                f"{what}: {error}; give AWS credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, or a role)"
            )
        if isinstance(error, (NoRegionError, InvalidRegionError)):
            return BackendDeniedError(f"{what}: {error}; set AWS_DEFAULT_REGION")
        # Before those that follow, of which it is one as well: so are botocore's words for silence.
        if isinstance(error, (ConnectionError, ReadTimeoutError, *_SILENCE)):
            return BackendUnreachableError(
                f"{what}: {error}; check METAFLOW_S3_ENDPOINT_URL and the network"
            )
        if isinstance(error, (HTTPClientError, *_TORN)):
            return garbled(what, error)
        if isinstance(error, BotoCoreError):
            return BackendError(f"{what}: {error}")
        if isinstance(error, ValueError):  # An endpoint that is no URL; boto3 has no class for it.
            return BackendDeniedError(f"{what}: {error}; check METAFLOW_S3_ENDPOINT_URL")
        return None

    def head(self, name: str) -> Head | None:
        try:
            told = self.client.head_object(Bucket=self.bucket, Key=self.key(name))
        except ClientError as error:
            # The same where there is no such bucket; what is written next finds that out.
            if _status_of(error) != _ABSENT:
                raise
            return None
        # Nothing else tells whether one that has no body was cut within its headers.
        whole = _whole(told, "ContentLength", "LastModified", "ETag")
        return Head(int(whole["ContentLength"]), told["Metadata"])

    def get(self, name: str, most_bytes: int) -> tuple[bytes, Mapping[str, str]] | None:
        found = self._get(name, most_bytes)
        return None if found is None else (found[0], found[1]["Metadata"])

    def get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        try:
            found = self._get(name, SPAN_BYTES, Range=f"bytes={start}-{start + SPAN_BYTES - 1}")
        except ClientError as error:
            if _status_of(error) == _EMPTY:
                return b"", 0
            raise
        if found is None:
            return None
        data, answer = found
        return data, int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])

    def put(self, name: str, data: bytes, said: Mapping[str, str], *, if_absent: bool) -> None:
        with _conditions():
            self.client.put_object(
                Bucket=self.bucket,
                Key=self.key(name),
                Body=data,
                Metadata=said,
                **self._encryption,
                **_condition(if_absent),
            )

    def upload(self, name: str, parts: Iterator[bytearray], *, if_absent: bool) -> bool:
        nonce = uuid.uuid4().hex
        target = {"Bucket": self.bucket, "Key": self.key(name)}

        def begin() -> str:
            made = self.client.create_multipart_upload(
                **target, Metadata={"nonce": nonce}, **self._encryption
            )
            return str(_whole(made, "UploadId")["UploadId"])

        def send(number: int, part: bytearray) -> dict[str, Any]:
            answer = self.client.upload_part(**upload, PartNumber=number, Body=part)
            return {"PartNumber": number, "ETag": _whole(answer, "ETag")["ETag"]}

        upload = target | {"UploadId": self.patiently("write", name, begin)}
        won = False
        try:
            sent = send_all(parts, lambda *part: self.patiently("write", name, send, *part))

            def complete() -> None:
                with _conditions():
                    self.client.complete_multipart_upload(
                        **upload, MultipartUpload={"Parts": sent}, **_condition(if_absent)
                    )

            end = partial(self._unless_ended, name, nonce, complete)
            won = self.conditionally(name, nonce, end)
        finally:
            if not won:
                # What stays is removed by `cleanup`, or by a rule of the bucket's.
                with suppress(BackendError):
                    self.patiently("write", name, self.client.abort_multipart_upload, **upload)
        return won

    def copy(self, name: str, there: Bucket, source: str) -> bool:
        if not isinstance(there, S3) or self._server() != there._server():
            return False
        head = there.head_to_copy(source)
        said = {
            "CopySource": {"Bucket": there.bucket, "Key": there.key(source)},
            "Bucket": self.bucket,
            "Key": self.key(name),
        }

        def copy() -> None:
            if head.size_bytes <= _LARGEST_COPY_BYTES:
                self.client.copy_object(**said, **self._encryption)
            else:
                metadata = {"Metadata": head.said}  # A copy in parts does not take it along.
                self.client.copy(**said, ExtraArgs={**metadata, **self._encryption})

        self.patiently("copy to", name, copy)
        return True

    def page(self, start: str, token: str) -> tuple[Any, str | None]:
        asked = {"ContinuationToken": token} if token else {}
        page = self._listed("list_objects_v2", {"Prefix": start, **asked})
        found = [
            (item["Key"], item["Size"], item["LastModified"].timestamp(), item["ETag"])
            for item in page.get("Contents", ())
        ]
        return found, page.get("NextContinuationToken") if page["IsTruncated"] else None

    def delete_batch(self, keys: Sequence[str]) -> None:
        if len(keys) == 1:
            self.client.delete_object(Bucket=self.bucket, Key=keys[0])
            return
        answer = self.client.delete_objects(
            Bucket=self.bucket,
            Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
        )
        for error in answer.get("Errors", ()):
            raise ClientError({"Error": error}, "DeleteObjects")

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        removed = 0
        for upload in self._uploads():
            if upload["Initiated"].timestamp() >= before:
                continue
            removed += 1
            if not dry_run:
                self.patiently("delete from", "", self._abort, upload)
        return removed

    def _uploads(self) -> Iterator[Mapping[str, Any]]:
        asked = {"Prefix": self.prefix}
        while True:
            page = self.patiently(
                "list the uploads to", "", self._listed, "list_multipart_uploads", asked
            )
            yield from page.get("Uploads", ())
            following = {name: page.get(f"Next{name}") for name in ("KeyMarker", "UploadIdMarker")}
            more = {name: value for name, value in following.items() if value}
            if not page["IsTruncated"] or not more:
                return
            asked = {"Prefix": self.prefix, **more}

    def _listed(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        # Without that it is a page of something else, such as of a proxy that wants a login, and
        # not a folder in which nothing is.
        return _whole(getattr(self.client, operation)(Bucket=self.bucket, **asked), "IsTruncated")

    def _server(self) -> str:
        return self.patiently("reach", "", lambda: str(self.client.meta.endpoint_url))

    def _get(self, name: str, most_bytes: int, **asked: Any) -> tuple[bytes, dict[str, Any]] | None:
        """Return an object's bytes and the answer they came in; None if there is none."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(name), **asked)
        except ClientError as error:
            if _status_of(error) != _ABSENT or _code_of(error) == "NoSuchBucket":
                raise
            return None
        if "transfer-encoding" not in answer["ResponseMetadata"]["HTTPHeaders"]:
            _whole(answer, "ContentLength")  # Else what is cut within its headers passes for whole.
        with answer["Body"] as body:
            if answer.get("ContentLength", most_bytes + 1) > most_bytes:
                return body.read(most_bytes + 1), answer
            return body.read(), answer

    def _abort(self, upload: Mapping[str, str]) -> None:
        dead = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, **dead)
        except ClientError as error:
            if _status_of(error) != _ABSENT:  # Else it has ended meanwhile, or was aborted so.
                raise

    def _unless_ended(self, name: str, nonce: str, complete: Callable[[], None]) -> None:
        """End an upload; it is no error that it has ended before, by a try without an answer."""
        try:
            complete()
        except ClientError as error:
            if _code_of(error) != "NoSuchUpload":
                raise
            head = self.head(name)
            if head is None or head.said.get("nonce") != nonce:
                raise


def _whole(answer: dict[str, Any], *needed: str) -> dict[str, Any]:
    """Return an answer; TornError if it lacks one of the fields its kind always has."""
    for name in needed:
        if name not in answer:
            raise TornError(f"the answer has no {name}")
    return answer


def _condition(if_absent: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if if_absent else {}


@contextmanager
def _conditions() -> Iterator[None]:
    """Tell a condition that was not met from other errors."""
    try:
        yield
    except ClientError as error:
        if _status_of(error) == _TAKEN:
            raise TakenError from error
        if _status_of(error) == _CONFLICT:
            raise TornError("others write it at the same time") from error
        raise


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status_of(error: ClientError) -> int:
    """Return the HTTP status of an error answer, or of its code; 0 if unknown."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code = _code_of(error)
    return int(status or (code if code.isdigit() else 0))


def _of_answer(error: ClientError, what: str) -> BackendError:
    code, status = _code_of(error), _status_of(error)
    what = f"{what}: {error.response.get('Error', {}).get('Message') or code or status}"
    if code == "NoSuchBucket":
        return BackendDeniedError(f"{what}; create the bucket, or name another")
    if code == "RequestTimeTooSkewed":
        return BackendDeniedError(f"{what}; set the clock of this machine")
    if code in _LOGIN or status == 401:
        return BackendDeniedError(f"{what}; renew or correct the AWS credentials")
    if status == 403 or code == "AccessDenied":
        return BackendDeniedError(f"{what}; allow it in the policy of the account that runs this")
    if status >= 500 or status in (408, 429) or code in {"SlowDown", "RequestTimeout"}:
        return BackendUnavailableError(f"{what}; it may work later")
    return BackendError(f"{what} ({code})")
