"""This module is ``bentoml.types``: what old services annotate with and return. Results are bentobatch's own by kind, so
that the scorer knows them; their arguments have BentoML's order and defaults."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import GenericAlias
from typing import Any, BinaryIO, ClassVar, TypeVar, Union
from urllib.parse import unquote, urlsplit

from bentobatch import tasks
from bentobatch.errors import UsageError

JsonSerializable = Union[bool, None, dict[Any, Any], list[Any], int, float, str]  # noqa: UP007 - as BentoML has it
AwsLambdaEvent = Union[dict[Any, Any], list[Any], str, int, float, None]  # noqa: UP007

Input = TypeVar("Input")
Output = TypeVar("Output")
ApiFuncArgs = TypeVar("ApiFuncArgs")
BatchApiFuncArgs = TypeVar("BatchApiFuncArgs")
ApiFuncReturnValue = TypeVar("ApiFuncReturnValue")
BatchApiFuncReturnValue = TypeVar("BatchApiFuncReturnValue")

BATCH_HEADER = "Bentoml-Is-Batch-Request"
HEADER_CHARSET = "latin1"
JSON_CHARSET = "utf-8"


class HTTPHeaders(tasks.HTTPHeaders):
    """Headers from a mapping, or from pairs of name and value."""

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None) -> None:
        super().__init__(dict(headers or {}))

    @classmethod
    def from_dict(cls, headers: Mapping[str, str]) -> HTTPHeaders:
        return cls(headers)

    @classmethod
    def from_sequence(cls, headers: Iterable[tuple[str, str]]) -> HTTPHeaders:
        return cls(headers)

    @property
    def content_type(self) -> str:
        return (self["content-type"] or "").partition(";")[0].strip().lower()

    @property
    def content_encoding(self) -> str:
        return (self["content-encoding"] or "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        for option in (self["content-type"] or "").split(";")[1:]:
            key, _, value = option.partition("=")
            if key.strip().lower() == "charset":
                return value.strip().strip("\"'") or None
        return None

    def to_json(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.items())


def _headers(headers: Any) -> HTTPHeaders:
    return headers if isinstance(headers, HTTPHeaders) else HTTPHeaders(headers)


class _Result(tasks.InferenceResult):
    """BentoML's order of arguments, and the fields that bentobatch has no use for."""

    _status = 501
    _cli_status = 0

    def __init__(
        self,
        version: int = 0,
        data: Any = None,
        err_msg: str = "",
        task_id: str | None = None,
        http_status: int | None = None,
        http_headers: Any = None,
        aws_lambda_event: Mapping[str, Any] | None = None,
        cli_status: int | None = None,
    ) -> None:
        super().__init__(
            data=data,
            err_msg=err_msg,
            task_id=task_id,
            http_status=self._status if http_status is None else http_status,
            http_headers=_headers(http_headers),
            cli_status=self._cli_status if cli_status is None else cli_status,
            version=version,
        )
        self.aws_lambda_event = aws_lambda_event

    __class_getitem__: ClassVar[Any] = classmethod(GenericAlias)


class InferenceResult(_Result):
    """One row's answer, with BentoML's defaults."""


class InferenceError(_Result, tasks.InferenceError):
    """One row's refusal."""

    _status = 500
    _cli_status = 1


class _TaskKind(type):
    """Every task that bentobatch makes counts as one of these."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, tasks.InferenceTask)


class InferenceTask(tasks.InferenceTask, metaclass=_TaskKind):
    """The name for annotations (``InferenceTask[str]``); what an api gets is bentobatch's own."""

    __class_getitem__: ClassVar[Any] = classmethod(GenericAlias)


@dataclass
class HTTPRequest:
    """A request as custom adapters saw it; bentobatch makes none."""

    headers: Any = field(default_factory=HTTPHeaders)
    body: bytes = b""

    def __post_init__(self) -> None:
        self.headers = _headers(self.headers)


@dataclass
class HTTPResponse:
    """A response as custom adapters made it; bentobatch asks for none."""

    status: int = 200
    headers: Any = field(default_factory=HTTPHeaders)
    body: bytes | None = b""

    def __post_init__(self) -> None:
        self.headers = _headers(self.headers)

    @classmethod
    def new(cls, status: int = 200, headers: Any = None, body: bytes = b"") -> HTTPResponse:
        return cls(status, headers, body)


@dataclass
class FileLike:
    """Bytes, a stream or a local file (``file://`` or a path), read as an opened file is."""

    bytes_: bytes | None = None
    uri: str | None = None
    name: str | None = None
    _stream: BinaryIO | None = None

    def __post_init__(self) -> None:
        if self.uri is not None and urlsplit(self.uri).scheme not in ("", "file"):
            raise UsageError(f"FileLike takes a local file, not {self.uri!r}")
        if self.name is None and self._stream is not None:
            self.name = getattr(self._stream, "name", None)
        elif self.name is None and self.uri is not None:
            self.name = os.path.basename(self.path)

    @property
    def path(self) -> str:
        return os.path.abspath(unquote(urlsplit(self.uri or "").path))

    @property
    def stream(self) -> BinaryIO:
        if self._stream is None:
            from_file = self.bytes_ is None and self.uri is not None
            self._stream = open(self.path, "rb") if from_file else io.BytesIO(self.bytes_ or b"")  # noqa: SIM115
        return self._stream

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        return self.stream.seek(position)

    def tell(self) -> int:
        return self.stream.tell()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
