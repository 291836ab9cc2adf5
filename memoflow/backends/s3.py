"""S3: a backend in a bucket, on boto3, for servers that speak the protocol of Amazon's.

Named by content, most things can be written by plain PUTs. Where one writer may win, the PUT is
conditional (`If-None-Match: *`), and carries a nonce: boto3 repeats a PUT whose answer was lost,
and the second is then refused because of the first.
"""

from __future__ import annotations

import io
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import xxhash
from botocore.exceptions import BotoCoreError, ClientError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError

from memoflow.backends.backend import Found, Place, check_name, chunks_of, folder
from memoflow.backends.failures import translated
from memoflow.backends.s3_failures import explained, status_of
from memoflow.errors import BackendError, BackendUnavailableError, NotFoundError, RequestError

_PART_BYTES = 16 << 20
_SPAN_BYTES = 4 << 20
_SPANS_AHEAD = 8
_THREADS = 8  # that carry parts, or ask for sizes
_TRIES = 12
_LONGEST_KEY = 1024  # bytes, says the protocol
_LARGEST_COPY_BYTES = 5 << 30  # in one request
_BATCH = 1000  # names in one request to delete
_ABSENT = 404
_EMPTY = 416  # as a span of nothing is answered
_TAKEN = 412
_CONFLICT = 409


class _TornError(Exception):
    """What came was not what the server has, or was not all of it."""


class S3:
    """Keep each name as an object of a bucket, below a prefix.

    `connect` makes a boto3 client; it is called once in each process. `encryption` are the
    arguments of a PUT that ask for encryption on the server.
    """

    is_local = False

    def __init__(
        self,
        connect: Callable[[], Any],
        bucket: str,
        prefix: str = "",
        *,
        encryption: Mapping[str, str] | None = None,
    ) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._connect = connect
        self._encryption = dict(encryption or {})
        self._clients: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3({f's3://{self.bucket}/{self.prefix}'!r})"

    @property
    def client(self) -> Any:
        """This process's client: a forked child must not share its parent's connections."""
        with self._lock:
            process = os.getpid()
            if process not in self._clients:
                with explained("reach", self._url("")):
                    self._clients = {process: self._connect()}
            return self._clients[process]

    def read(self, name: str) -> bytes | None:
        found: bytes | None = self._patiently(
            lambda is_last: self._read(name, is_last=is_last), name
        )
        return found

    def open(self, name: str) -> BinaryIO | None:
        first = self._patiently(lambda _: self._get_span(name, 0), name)
        return None if first is None else io.BufferedReader(_Object(self, name, *first))

    def exists(self, names: Sequence[str]) -> list[bool]:
        return [size is not None for size in self.sizes(names)]

    def sizes(self, names: Sequence[str]) -> Sequence[int | None]:
        if len(names) < 2:
            return [self._size(name) for name in names]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="memoflow-s3") as pool:
            return list(pool.map(self._size, names))

    def list(self, prefix: str) -> Iterator[Found]:
        start = self.prefix + folder(prefix)
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=start
        )
        with explained("list", self._url(prefix)):
            for page in pages:
                for item in page.get("Contents", ()):
                    name = item["Key"][len(self.prefix) :]
                    with suppress(RequestError):  # Not of our making: a folder's marker, perhaps.
                        yield Found(
                            check_name(name),
                            item["Size"],
                            item["LastModified"].timestamp(),
                            item["ETag"],
                        )

    def write(
        self, name: str, data: bytes, *, if_absent: bool = False, durable: bool = True
    ) -> bool:
        return self._put(name, data, if_absent=if_absent)

    def write_from(
        self,
        name: str,
        source: Path | Iterable[bytes | memoryview],
        *,
        if_absent: bool = False,
        durable: bool = True,
    ) -> bool:
        key = self._key(name)
        if isinstance(source, Path):
            with translated("read", source), open(source, "rb", buffering=0) as file:
                chunks = iter(lambda: file.read(_PART_BYTES), b"")
                return self.write_from(name, chunks, if_absent=if_absent)
        parts = _parts(source)
        first = next(parts, bytearray())
        second = next(parts, None)
        if second is None:
            return self._put(name, first, if_absent=if_absent)
        with explained("write", self._url(name)):
            return _Upload(self, key).send([first, second], parts, if_absent=if_absent)

    def adopt(self, name: str, source: Path | Place) -> bool:
        if isinstance(source, Path):
            return self.write_from(name, source, if_absent=True)
        if self._size(name) is not None:
            return False
        there = source.backend
        if isinstance(there, S3) and self._is_same_server(there):
            self._copy(name, there, source.name)
            return True
        return self.write_from(name, chunks_of(source), if_absent=True)

    def delete(self, names: Sequence[str]) -> None:
        keys = [self._key(name) for name in names]
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            with explained("delete from", self._url("")):
                if len(batch) == 1:
                    self.client.delete_object(Bucket=self.bucket, Key=batch[0])
                    continue
                answer = self.client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in batch], "Quiet": True},
                )
                for error in answer.get("Errors", ()):
                    raise ClientError({"Error": error}, "DeleteObjects")

    def path(self, name: str) -> Path | None:
        return None

    def bring(self, names: Sequence[str]) -> None:
        pass

    def doubt(self, name: str) -> bool:
        return False

    def tidy(self, *, before: float) -> int:
        removed = 0
        with explained("list the uploads to", self._url("")):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=self.prefix
            )
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"].timestamp() < before:
                        self._abort(upload["Key"], upload["UploadId"])
                        removed += 1
        return removed

    def _key(self, name: str) -> str:
        key = self.prefix + check_name(name)
        if len(key.encode()) > _LONGEST_KEY:
            raise RequestError(f"{name!r} is too long for S3: a key has {_LONGEST_KEY} bytes")
        return key

    def _url(self, name: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def _is_same_server(self, other: S3) -> bool:
        return bool(self.client.meta.endpoint_url == other.client.meta.endpoint_url)

    def _size(self, name: str) -> int | None:
        head = self._head(name)
        return None if head is None else int(head["ContentLength"])

    def _head(self, name: str) -> dict[str, Any] | None:
        with explained("read", self._url(name)):
            try:
                head: dict[str, Any] = self.client.head_object(
                    Bucket=self.bucket, Key=self._key(name)
                )
                return head
            except ClientError as error:
                # The same where there is no such bucket; what is written next finds that out.
                if status_of(error) != _ABSENT:
                    raise
                return None

    def _patiently(self, act: Callable[[bool], Any], name: str) -> Any:
        """Do it again while what comes is torn; `act` is told when there is no other time."""
        tries = Retrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.02, max=2),
            retry=retry_if_exception_type(_TornError),
            reraise=True,
        )
        try:
            for attempt in tries:
                with attempt:
                    return act(attempt.retry_state.attempt_number == _TRIES)
        except _TornError as error:
            raise BackendUnavailableError(
                f"cannot read {self._url(name)} whole, tried {_TRIES} times: {error}"
            ) from error

    def _read(self, name: str, *, is_last: bool) -> bytes | None:
        found = self._get(name)
        if found is None:
            return None
        data, answer = found
        told = answer["Metadata"].get("xxh3")
        if told and xxhash.xxh3_128_hexdigest(data) != told and not is_last:
            raise _TornError("its bytes are not those that were written")
        # Not the bytes that were written, each time: damaged there, as their reader will find.
        return data

    def _get(self, name: str, **asked: Any) -> tuple[bytes, dict[str, Any]] | None:
        """Return the bytes, and what was said of them; None if there are none."""
        with explained("read", self._url(name)):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name), **asked)
            except ClientError as error:
                if status_of(error) != _ABSENT or _is_no_bucket(error):
                    raise
                return None
            try:
                with answer["Body"] as body:
                    return body.read(), answer
            except (BotoCoreError, HTTPError, OSError) as error:
                raise _TornError(f"{type(error).__name__}: {error}") from error

    def _get_span(self, name: str, start: int) -> tuple[bytes, int] | None:
        """Return one span from there on, and the size of all; None if nothing has this name."""
        try:
            found = self._get(name, Range=f"bytes={start}-{start + _SPAN_BYTES - 1}")
        except BackendError as error:
            if isinstance(error.__cause__, ClientError) and status_of(error.__cause__) == _EMPTY:
                return b"", 0
            raise
        if found is None:
            return None
        data, answer = found
        size_bytes = int(answer.get("ContentRange", f"/{len(data)}").rpartition("/")[2])
        if len(data) != min(_SPAN_BYTES, size_bytes - start):
            raise _TornError(f"{len(data)} bytes came")
        return data, size_bytes

    def read_span(self, name: str, start: int) -> bytes:
        """Return one span from there on; NotFoundError if nothing has this name any more."""
        found = self._patiently(lambda _: self._get_span(name, start), name)
        if found is None:
            raise NotFoundError(f"{self._url(name)} went away while it was read")
        data: bytes = found[0]
        return data

    def _put(self, name: str, data: bytes | bytearray, *, if_absent: bool) -> bool:
        nonce = uuid.uuid4().hex
        said = {
            "Bucket": self.bucket,
            "Key": self._key(name),
            "Body": data,
            "Metadata": {"xxh3": xxhash.xxh3_128_hexdigest(data), "nonce": nonce},
            **self._encryption,
        }
        if not if_absent:
            with explained("write", self._url(name)):
                self.client.put_object(**said)
            return True
        return self.conditionally(
            name, nonce, lambda: self.client.put_object(**said, IfNoneMatch="*")
        )

    def conditionally(self, name: str, nonce: str, act: Callable[[], Any]) -> bool:
        """Tell whether a conditional write won; `nonce` is what its metadata has."""

        def write(is_last: bool) -> bool:
            with explained("write", self._url(name)):
                try:
                    act()
                    return True
                except ClientError as error:
                    status = status_of(error)
                    if status == _TAKEN:
                        head = self._head(name)
                        if head is not None:
                            return bool(head["Metadata"].get("nonce") == nonce)
                        # Deleted since: the name is free again.
                    elif status != _CONFLICT:
                        raise
            raise _TornError("others write it at the same time")

        won: bool = self._patiently(write, name)
        return won

    def _copy(self, name: str, there: S3, source: str) -> None:
        head = there._head(source)
        if head is None:
            raise NotFoundError(f"{there._url(source)} went away before it could be adopted")
        said = {
            "CopySource": {"Bucket": there.bucket, "Key": there._key(source)},
            "Bucket": self.bucket,
            "Key": self._key(name),
        }
        with explained("copy to", self._url(name)):
            if head["ContentLength"] <= _LARGEST_COPY_BYTES:
                self.client.copy_object(**said, **self._encryption)
            else:
                metadata = {"Metadata": head["Metadata"]}  # A copy in parts does not take it along.
                self.client.copy(**said, ExtraArgs={**metadata, **self._encryption})

    def _abort(self, key: str, upload: str) -> None:
        self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)


class _Upload:
    """An object written in parts, several of them at a time."""

    def __init__(self, s3: S3, key: str) -> None:
        self._s3 = s3
        self._nonce = uuid.uuid4().hex
        self._said = {"Bucket": s3.bucket, "Key": key}
        self._name = key[len(s3.prefix) :]

    def send(
        self, first: Sequence[bytearray], rest: Iterator[bytearray], *, if_absent: bool
    ) -> bool:
        client = self._s3.client
        made = client.create_multipart_upload(
            **self._said, Metadata={"nonce": self._nonce}, **self._s3._encryption
        )
        self._said["UploadId"] = made["UploadId"]
        try:
            parts = self._send_parts([*first], rest)
            condition = {"IfNoneMatch": "*"} if if_absent else {}

            def complete() -> None:
                client.complete_multipart_upload(
                    **self._said, MultipartUpload={"Parts": parts}, **condition
                )

            if not if_absent:
                complete()
                return True
            won = self._s3.conditionally(self._name, self._nonce, complete)
        except BaseException:
            self._give_up()
            raise
        if not won:
            self._give_up()
        return won

    def _send_parts(self, first: list[bytearray], rest: Iterator[bytearray]) -> list[Any]:
        sent: list[Future[Any]] = []
        room = threading.Semaphore(_THREADS + 1)

        def hand_over(part: bytearray) -> None:
            room.acquire()
            one = pool.submit(self._send_part, len(sent) + 1, part)
            one.add_done_callback(lambda _: room.release())
            sent.append(one)

        with ThreadPoolExecutor(_THREADS, thread_name_prefix="memoflow-s3") as pool:
            try:
                while first:
                    hand_over(first.pop(0))
                for part in rest:
                    hand_over(part)
                    for done in sent:
                        if done.done():
                            done.result()
                return [one.result() for one in sent]
            except BaseException:
                for one in sent:
                    one.cancel()
                raise

    def _send_part(self, number: int, part: bytearray) -> dict[str, Any]:
        answer = self._s3.client.upload_part(**self._said, PartNumber=number, Body=part)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _give_up(self) -> None:
        # What stays is removed by `tidy`, or by a rule of the bucket's.
        with suppress(ClientError, BotoCoreError):
            self._s3._abort(self._said["Key"], self._said["UploadId"])


class _Object(io.RawIOBase):
    """A reader by spans; once it reads in order, a few are on their way before it asks."""

    def __init__(self, s3: S3, name: str, first: bytes, size_bytes: int) -> None:
        self._s3 = s3
        self._name = name
        self._size_bytes = size_bytes
        self._at = 0
        self._span = (0, first)  # the one that was read last, and where it begins
        self._ahead: dict[int, Future[bytes]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._size_bytes:
            return 0
        within = self._at % _SPAN_BYTES
        data = memoryview(self._read(self._at - within))[within:][: len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._ahead.clear()
        super().close()

    def _read(self, start: int) -> bytes:
        last, data = self._span
        if start == last:
            return data
        if start == last + _SPAN_BYTES:
            self._look_ahead(start)
        awaited = self._ahead.pop(start, None)
        data = self._s3.read_span(self._name, start) if awaited is None else awaited.result()
        self._span = start, data
        return data

    def _look_ahead(self, start: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="memoflow-s3")
        end = min(start + _SPANS_AHEAD * _SPAN_BYTES, self._size_bytes)
        wanted = range(start, end, _SPAN_BYTES)
        for old in self._ahead.keys() - set(wanted):
            self._ahead.pop(old).cancel()
        for each in wanted:
            if each not in self._ahead:
                self._ahead[each] = self._pool.submit(self._s3.read_span, self._name, each)


def _parts(chunks: Iterable[bytes | memoryview]) -> Iterator[bytearray]:
    """Yield what the chunks hold in parts of one size, but for the last."""
    part = bytearray()
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            taken = view[: _PART_BYTES - len(part)]
            part += taken
            view = view[len(taken) :]
            if len(part) == _PART_BYTES:
                yield part
                part = bytearray()
    if part:
        yield part


def _is_no_bucket(error: ClientError) -> bool:
    return bool(error.response.get("Error", {}).get("Code") == "NoSuchBucket")
