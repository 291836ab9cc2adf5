"""S3: a backend in a bucket, on boto3, for servers that speak the protocol of Amazon's.

Conditions are `If-None-Match: *`, which older servers ignore.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from memoflow.backends.backend import Found, check_name, folder
from memoflow.backends.bucket import Bucket, Head, TakenError, TornError
from memoflow.backends.s3_failures import explained, status_of
from memoflow.backends.spans import SPAN_BYTES, send_all
from memoflow.errors import BackendError, NotFoundError, UsageError

_LARGEST_COPY_BYTES = 5 << 30  # in one request
_BATCH = 1000  # names in one request to delete
_ABSENT = 404
_EMPTY = 416  # as a span of nothing is answered
_TAKEN = 412
_CONFLICT = 409


class S3(Bucket):
    """Keep each name as an object of a bucket, below a prefix.

    `connect` makes a boto3 client. `encryption` are the arguments of a PUT that ask for encryption
    on the server.
    """

    service = "S3"

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

    def url(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def explained(self, verb: str, name: str) -> AbstractContextManager[None]:
        return explained(verb, self.url(name))

    def head(self, name: str) -> Head | None:
        try:
            told = self.client.head_object(Bucket=self.bucket, Key=self.key(name))
        except ClientError as error:
            # The same where there is no such bucket; what is written next finds that out.
            if status_of(error) != _ABSENT:
                raise
            return None
        # Nothing else tells whether one that has no body was cut within its headers.
        whole = _whole(told, "ContentLength", "LastModified", "ETag")
        return Head(int(whole["ContentLength"]), told["Metadata"])

    def get(self, name: str, most_bytes: int) -> tuple[bytes, Head] | None:
        found = self._get(name, most_bytes)
        if found is None:
            return None
        data, answer = found
        return data, Head(len(data), answer["Metadata"])

    def get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        try:
            found = self._get(name, SPAN_BYTES, Range=f"bytes={start}-{start + SPAN_BYTES - 1}")
        except ClientError as error:
            if status_of(error) == _EMPTY:
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

        def begin(_: bool) -> str:
            made = self.client.create_multipart_upload(
                **target, Metadata={"nonce": nonce}, **self._encryption
            )
            return str(_whole(made, "UploadId")["UploadId"])

        def send(number: int, part: bytearray) -> dict[str, Any]:
            def act(_: bool) -> dict[str, Any]:
                answer = self.client.upload_part(**upload, PartNumber=number, Body=part)
                return {"PartNumber": number, "ETag": _whole(answer, "ETag")["ETag"]}

            sent: dict[str, Any] = self.patiently("write", name, act)
            return sent

        upload = target | {"UploadId": self.patiently("write", name, begin)}
        won = False
        try:
            all_sent = {"Parts": send_all(parts, send)}

            def complete() -> None:
                with _conditions():
                    self.client.complete_multipart_upload(
                        **upload, MultipartUpload=all_sent, **_condition(if_absent)
                    )

            won = self.conditionally(name, nonce, lambda: self._unless_ended(name, nonce, complete))
        finally:
            if not won:
                # What stays is removed by `cleanup`, or by a rule of the bucket's.
                with suppress(BackendError):
                    self.patiently(
                        "write", name, lambda _: self.client.abort_multipart_upload(**upload)
                    )
        return won

    def copy(self, name: str, there: Bucket, source: str) -> bool:
        if not isinstance(there, S3) or not self._is_same_server(there):
            return False
        head = there.patiently("read", source, lambda _: there.head(source))
        if head is None:
            raise NotFoundError(f"{there.url(source)} went away before it could be adopted")
        said = {
            "CopySource": {"Bucket": there.bucket, "Key": there.key(source)},
            "Bucket": self.bucket,
            "Key": self.key(name),
        }

        def copy(_: bool) -> None:
            if head.size_bytes <= _LARGEST_COPY_BYTES:
                self.client.copy_object(**said, **self._encryption)
            else:
                metadata = {"Metadata": head.said}  # A copy in parts does not take it along.
                self.client.copy(**said, ExtraArgs={**metadata, **self._encryption})

        self.patiently("copy to", name, copy)
        return True

    def list(self, prefix: str) -> Iterator[Found]:
        start = self.prefix + folder(prefix)
        asked = {"Bucket": self.bucket, "Prefix": start}
        for page in self._pages("list", prefix, "list_objects_v2", asked):
            for item in page.get("Contents", ()):
                name = item["Key"][len(self.prefix) :]
                with suppress(UsageError):  # Not of our making: a folder's marker, perhaps.
                    yield Found(
                        check_name(name),
                        item["Size"],
                        item["LastModified"].timestamp(),
                        item["ETag"],
                    )

    def delete(self, names: Sequence[str]) -> None:
        keys = [self.key(name) for name in names]
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            self.patiently("delete from", "", partial(self._delete, batch))

    def cleanup(self, *, before: float, dry_run: bool = False) -> int:
        removed = 0
        asked = {"Bucket": self.bucket, "Prefix": self.prefix}
        for page in self._pages("list the uploads to", "", "list_multipart_uploads", asked):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"].timestamp() >= before:
                    continue
                removed += 1
                if not dry_run:
                    dead = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                    self.patiently("delete from", "", partial(self._abort, dead))
        return removed

    def _is_same_server(self, other: S3) -> bool:
        def act(_: bool) -> bool:
            return bool(self.client.meta.endpoint_url == other.client.meta.endpoint_url)

        same: bool = self.patiently("reach", "", act)
        return same

    def _get(self, name: str, most_bytes: int, **asked: Any) -> tuple[bytes, dict[str, Any]] | None:
        """Return an object's bytes and the answer they came in; None if there is none."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(name), **asked)
        except ClientError as error:
            if status_of(error) != _ABSENT or _is_no_bucket(error):
                raise
            return None
        if "transfer-encoding" not in answer["ResponseMetadata"]["HTTPHeaders"]:
            _whole(answer, "ContentLength")  # Else what is cut within its headers passes for whole.
        with answer["Body"] as body:
            if answer.get("ContentLength", most_bytes + 1) > most_bytes:
                return body.read(most_bytes + 1), answer
            return body.read(), answer

    def _pages(
        self, verb: str, prefix: str, operation: str, asked: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield the pages of a listing."""
        more: dict[str, Any] | None = {}
        while more is not None:
            page = self.patiently(verb, prefix, partial(self._page, operation, {**asked, **more}))
            yield page
            more = _next_page(page)

    def _page(self, operation: str, asked: Mapping[str, Any], _: bool) -> dict[str, Any]:
        # Without that it is a page of something else, such as of a proxy that wants a login, and
        # not a folder in which nothing is.
        return _whole(getattr(self.client, operation)(**asked), "IsTruncated")

    def _delete(self, keys: Sequence[str], _: bool) -> None:
        if len(keys) == 1:
            self.client.delete_object(Bucket=self.bucket, Key=keys[0])
            return
        answer = self.client.delete_objects(
            Bucket=self.bucket,
            Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
        )
        for error in answer.get("Errors", ()):
            raise ClientError({"Error": error}, "DeleteObjects")

    def _abort(self, upload: Mapping[str, str], _: bool) -> None:
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, **upload)
        except ClientError as error:
            if status_of(error) != _ABSENT:  # Else it has ended meanwhile, or was aborted so.
                raise

    def _unless_ended(self, name: str, nonce: str, complete: Callable[[], None]) -> None:
        """End an upload; it is no error that it has ended before, by a try without an answer."""
        try:
            complete()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "NoSuchUpload":
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


def _next_page(page: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arguments of the request for the next page; None after the last."""
    following = {
        "ContinuationToken": page.get("NextContinuationToken"),
        "KeyMarker": page.get("NextKeyMarker"),
        "UploadIdMarker": page.get("NextUploadIdMarker"),
    }
    asked = {name: value for name, value in following.items() if value}
    return asked if page["IsTruncated"] and asked else None


def _condition(if_absent: bool) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if if_absent else {}


@contextmanager
def _conditions() -> Iterator[None]:
    """Tell a condition that was not met from other errors."""
    try:
        yield
    except ClientError as error:
        if status_of(error) == _TAKEN:
            raise TakenError from error
        if status_of(error) == _CONFLICT:
            raise TornError("others write it at the same time") from error
        raise


def _is_no_bucket(error: ClientError) -> bool:
    return bool(error.response.get("Error", {}).get("Code") == "NoSuchBucket")
