"""This module puts objects into a bucket on conditions, so that of two writers one learns that it came too late.

On an S3 API the conditions are If-None-Match and If-Match, which the server checks together with the write. Other stores
(memory, HTTP, what else fsspec knows) have no such thing here: what stands there is looked at and then written over.
"""

from __future__ import annotations

import email.utils
import logging
import mimetypes
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("bentobatch")
_MARK = "bentobatch-commit"
_MOST_PARTS = 9_000
_UPLOADERS = 4


@dataclass(frozen=True)
class Found:
    """An object as it stands. ``tag`` tells its content from any other, ``age`` is in seconds by the server's clock
    (None where the server tells none), ``mark`` is what ``upload`` was given."""

    size: int
    tag: str
    age: float | None = None
    mark: str | None = None
    data: bytes = field(default=b"", repr=False)


class Objects(ABC):
    """Single objects of one file system; paths are as fsspec has them (bucket/key). Errors are the file system's own."""

    keeps_marks = False
    """Whether ``look`` finds the mark that ``upload`` was given."""

    @abstractmethod
    def read(self, path: str) -> Found | None:
        """An object with its bytes, or None."""

    @abstractmethod
    def look(self, path: str) -> Found | None:
        """An object without its bytes, or None."""

    @abstractmethod
    def put(self, path: str, data: bytes, *, instead_of: Found | None) -> bool:
        """Write a small object if what stands there is still ``instead_of`` (None: nothing); whether it was."""

    @abstractmethod
    def upload(self, local: Path, path: str, *, instead_of: Found | None, mark: str, fence: Callable[[], None]) -> bool:
        """Put a local file in place at once, under the condition of ``put``; ``fence`` is called right before the one
        request that makes it visible. ``mark`` is kept with the object where the store can."""

    @abstractmethod
    def end_uploads(self, path: str) -> int:
        """End what was being uploaded to ``path``, or below it if it ends with a slash, and was never completed."""


class PlainObjects(Objects):
    """Any fsspec file system, without conditions."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def read(self, path: str) -> Found | None:
        try:
            data: bytes = self.fs.cat_file(path)
        except FileNotFoundError:
            return None
        found = self.look(path)
        return Found(len(data), found.tag if found else "", data=data)

    def look(self, path: str) -> Found | None:
        self.fs.invalidate_cache()
        try:
            info = self.fs.info(path)
        except FileNotFoundError:
            return None
        tags = (info.get(name) for name in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created"))
        return Found(int(info.get("size") or 0), str(next((tag for tag in tags if tag), "")))

    def put(self, path: str, data: bytes, *, instead_of: Found | None) -> bool:
        if instead_of is None:
            try:
                self.fs.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            return True
        if self.look(path) is None:
            return False
        self.fs.pipe_file(path, data)
        return True

    def upload(self, local: Path, path: str, *, instead_of: Found | None, mark: str, fence: Callable[[], None]) -> bool:
        del instead_of, mark
        fence()
        self.fs.put_file(str(local), path)
        return True

    def end_uploads(self, path: str) -> int:
        del path
        return 0


class S3Objects(Objects):
    """s3fs, by the calls of the S3 API itself, since s3fs knows no If-Match and offers no look between an upload's last
    byte and its completion."""

    keeps_marks = True
    part_bytes = 16 << 20
    """Larger files are uploaded in parts of this size; nothing is visible before the completion."""

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def read(self, path: str) -> Found | None:
        import fsspec.asyn

        return self._found(path, lambda target: fsspec.asyn.sync(self.fs.loop, self._get, target))

    def look(self, path: str) -> Found | None:
        return self._found(path, lambda target: self.fs.call_s3("head_object", **target))

    async def _get(self, target: Mapping[str, str]) -> Any:
        answer = await self.fs._call_s3("get_object", **target)
        async with answer["Body"] as body:
            return {**answer, "Body": await body.read()}

    def _found(self, path: str, ask: Callable[[dict[str, str]], Any]) -> Found | None:
        try:
            answer = ask(self._target(path))
        except FileNotFoundError:
            return None
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        now = email.utils.parsedate_to_datetime(headers["date"]).timestamp() if "date" in headers else time.time()
        return Found(
            size=int(answer.get("ContentLength") or 0),
            tag=str(answer["ETag"]),
            age=max(0.0, now - answer["LastModified"].timestamp()),
            mark=answer.get("Metadata", {}).get(_MARK),
            data=answer.get("Body", b""),
        )

    def put(self, path: str, data: bytes, *, instead_of: Found | None) -> bool:
        return self._conditional("put_object", **self._target(path), **_condition(instead_of), Body=data)

    def upload(self, local: Path, path: str, *, instead_of: Found | None, mark: str, fence: Callable[[], None]) -> bool:
        target = self._target(path)
        kind = mimetypes.guess_type(path)[0]
        described = {"Metadata": {_MARK: mark}, **({"ContentType": kind} if kind else {})}
        if local.stat().st_size <= self.part_bytes:
            body = local.read_bytes()
            fence()
            done = self._conditional("put_object", **target, **_condition(instead_of), **described, Body=body)
        else:
            done = self._upload_parts(local, {**target}, described, _condition(instead_of), fence)
        if done:
            return True
        # a request that was answered by nobody is sent again, and then refused because its first try had come through
        found = self.look(path)
        return found is not None and found.mark == mark

    def _upload_parts(
        self,
        local: Path,
        target: dict[str, str],
        described: Mapping[str, Any],
        condition: Mapping[str, str],
        fence: Callable[[], None],
    ) -> bool:
        upload = self.fs.call_s3("create_multipart_upload", **target, **described)["UploadId"]
        try:
            with ThreadPoolExecutor(_UPLOADERS, thread_name_prefix="bentobatch-upload") as pool:
                numbers = pool.map(lambda piece: self._upload_part(local, target, upload, *piece), self._pieces(local))
                parts = {"Parts": list(numbers)}
            fence()
            done = self._conditional(
                "complete_multipart_upload", **target, **condition, UploadId=upload, MultipartUpload=parts
            )
        except BaseException:
            self._abort(target, upload)
            raise
        if not done:
            self._abort(target, upload)
        return done

    def _pieces(self, local: Path) -> Iterator[tuple[int, int, int]]:
        """(number from 1, start, length) of each part."""
        size = local.stat().st_size
        step = max(self.part_bytes, -(-size // _MOST_PARTS))
        for number, start in enumerate(range(0, size, step), 1):
            yield number, start, min(step, size - start)

    def _upload_part(
        self, local: Path, target: Mapping[str, str], upload: str, number: int, start: int, length: int
    ) -> dict[str, Any]:
        with local.open("rb") as file:
            body = os.pread(file.fileno(), length, start)
        answer = self.fs.call_s3("upload_part", **target, UploadId=upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _abort(self, target: Mapping[str, str], upload: str) -> bool:
        try:
            self.fs.call_s3("abort_multipart_upload", **target, UploadId=upload)
        except FileNotFoundError:
            return False  # it was completed or aborted meanwhile
        except Exception as error:  # noqa: BLE001 - botocore's errors have no common root but Exception
            where = f"s3://{target['Bucket']}/{target['Key']}"
            _LOG.warning(
                "an unfinished upload to %s could not be ended (%s); bentobatch clean does it",
                where,
                type(error).__name__,
            )
            return False
        return True

    def end_uploads(self, path: str) -> int:
        bucket, key, _ = self.fs.split_path(path)
        more: dict[str, str] = {}
        ended = 0
        while True:
            answer = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key, **more)
            for item in answer.get("Uploads") or []:
                if item["Key"] == key or key.endswith("/"):
                    ended += self._abort({"Bucket": bucket, "Key": item["Key"]}, item["UploadId"])
            if not answer.get("IsTruncated"):
                return ended
            more = {"KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"]}

    def _target(self, path: str) -> dict[str, str]:
        bucket, key, _ = self.fs.split_path(path)
        return {"Bucket": bucket, "Key": key}

    def _conditional(self, method: str, **arguments: Any) -> bool:
        """Call; False where the condition did not hold."""
        try:
            self.fs.call_s3(method, **arguments)
        except FileNotFoundError as error:
            # If-Match on an object that is gone; without it, 404 says that there is no such bucket
            if "IfMatch" not in arguments and _code(error) != "NoSuchUpload":
                raise
            return False
        except OSError as error:
            if _code(error) not in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                raise
            return False
        finally:
            self.fs.invalidate_cache()
        return True


def objects_of(fs: Any) -> Objects:
    """The objects of a file system."""
    return S3Objects(fs) if hasattr(fs, "call_s3") else PlainObjects(fs)


def _condition(instead_of: Found | None) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": instead_of.tag}


def _code(error: BaseException) -> str:
    """The S3 error code behind an error of s3fs."""
    response = getattr(error.__cause__ or error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
