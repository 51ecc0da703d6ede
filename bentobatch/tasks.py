"""This module says what a single inference is to the user's function: the task it came with and the result it leaves.

Names and defaults are BentoML 0.13's (``bentoml.types``), without its HTTP and Lambda plumbing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class HTTPHeaders(Mapping[str, str]):
    """A case-insensitive mapping of HTTP headers. A missing key gives None instead of KeyError, as in BentoML 0.13."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._headers = {key.lower(): value for key, value in (headers or {}).items()}

    def __getitem__(self, key: str) -> str:
        return self._headers.get(key.lower())  # type: ignore[return-value]  # None for a missing key is the contract

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __repr__(self) -> str:
        return f"HTTPHeaders({self._headers!r})"


@dataclass
class InferenceResult:
    """One row's answer with the say of the api over status and headers. In batch jobs ``data`` becomes the value."""

    data: Any = None
    err_msg: str = ""
    task_id: str | None = None
    http_status: int = 200
    http_headers: Mapping[str, str] = field(default_factory=HTTPHeaders)
    cli_status: int = 0
    version: int = 0


@dataclass
class InferenceError(InferenceResult):
    """One row's refusal. In batch jobs it makes the row a reject of stage ``model``."""

    http_status: int = 500
    cli_status: int = 1


@dataclass
class InferenceTask:
    """What came with one row (or one request). ``discard`` refuses it; a discarded task owes no result."""

    data: Any = None
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    http_method: str | None = None
    http_headers: Mapping[str, str] = field(default_factory=HTTPHeaders)
    cli_args: tuple[str, ...] | None = None
    inference_job_args: Mapping[str, Any] | None = None
    batch: int | None = None
    error: InferenceError | None = None
    is_discarded: bool = False
    version: int = 0

    def discard(self, err_msg: str = "", **context: Any) -> None:
        """Refuse this row: it gets no prediction, and ``err_msg`` goes to the rejects file.

        ``context`` takes the fields of InferenceError (http_status, http_headers, cli_status).
        """
        self.is_discarded = True
        self.error = InferenceError(err_msg=err_msg, task_id=self.task_id, **context)
