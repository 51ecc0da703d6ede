"""This module scores queued rows: those of many tasks are joined into one call of the model, and each gets its own answer.

The bundles are the worker's own choice: ``app.conf.bentobatch_bundles``, or BENTOBATCH_CELERY_BUNDLES as JSON, maps a name
to a tag, folder, archive or pinned URL, or to {"bundle": …, "max_batch_size": …, "max_latency_ms": …, "max_wait_ms": …,
"max_queue_rows": …}. A message can but name one of them: loading a bundle runs its code.
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

import orjson
import pyarrow as pa
from celery import Celery

from bentobatch.adapters.base import LINE_COLUMN
from bentobatch.adapters.json_text import json_text
from bentobatch.adapters.json_values import StringInput
from bentobatch.adapters.tabular import TabularInput
from bentobatch.bundle.load import load
from bentobatch.bundle.manifest import read_manifest
from bentobatch.errors import BentobatchError, DataError, DeadlineError, ModelError, UsageError
from bentobatch.formats.write import part_writer
from bentobatch.repository.local import resolve
from bentobatch.rows import BadRow
from bentobatch.scorer import Scorer
from bentobatch.service.core import ServiceCore
from bentobatch.serving.microbatch import MicroBatcher
from bentobatch.serving.scoring import Answer

_LOG = logging.getLogger("bentobatch")
BUNDLES = "BENTOBATCH_CELERY_BUNDLES"
_LIMITS = ("max_batch_size", "max_latency_ms", "max_wait_ms", "max_queue_rows")


class Bundles:
    """The bundles of this process, each loaded once, and a micro-batcher for each api that was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._services: dict[str, ServiceCore] = {}
        self._batchers: dict[tuple[str, str], MicroBatcher] = {}

    def service(self, name: str, configured: Mapping[str, Any]) -> ServiceCore:
        """The service of a configured bundle, loaded at first use; other threads wait meanwhile."""
        with self._lock:
            return self._service(name, configured)

    def _service(self, name: str, configured: Mapping[str, Any]) -> ServiceCore:
        if name not in self._services:
            folder = resolve(_options(name, configured)["bundle"])
            self._services[name] = load(folder, digest=read_manifest(folder).digest)
        return self._services[name]

    def batcher(self, name: str, api: str, configured: Mapping[str, Any]) -> MicroBatcher:
        """The micro-batcher of an api, made at first use."""
        with self._lock:
            batcher = self._batchers.get((name, api))
            if batcher is None:
                service = self._service(name, configured)
                found = service.get_inference_api(api)
                options = _options(name, configured)
                limits = {limit: options[limit] for limit in _LIMITS if limit in options}
                scorer = Scorer(service, found, output_schema=found.output_schema)
                batcher = self._batchers[name, api] = MicroBatcher(scorer, **limits)
            return batcher

    def close(self) -> None:
        """End the batchers' threads; what waits is answered first."""
        with self._lock:
            batchers = list(self._batchers.values())
            self._batchers.clear()
        for batcher in batchers:
            batcher.close(timeout=10)


_BUNDLES = Bundles()


def configured_bundles(app: Celery) -> dict[str, Any]:
    """What the worker is configured with, by name.

    Raises:
        UsageError: it is no JSON object.
    """
    found = app.conf.get("bentobatch_bundles")
    if found is None:
        text = os.environ.get(BUNDLES)
        try:
            found = json.loads(text) if text else {}
        except ValueError as error:
            raise UsageError(f'{BUNDLES} must be a JSON object such as {{"fraud": "fraud:latest"}}: {error}') from error
    if not isinstance(found, Mapping):
        raise UsageError(f'{BUNDLES} must be a JSON object such as {{"fraud": "fraud:latest"}}')
    return dict(found)


def open_bundles(app: Celery) -> None:
    """Load every configured bundle. What keeps one from being loaded is told again to whoever asks for it."""
    try:
        configured = configured_bundles(app)
        for name in configured:
            _BUNDLES.service(name, configured)
            _LOG.info("the bundle %s is loaded", name)
    except BentobatchError as error:
        _LOG.warning("a bundle of this worker cannot be loaded: %s", error)


def close_bundles() -> None:
    """End this process's batchers."""
    _BUNDLES.close()


def predict(app: Celery, bundle: str, rows: Sequence[Any], *, api: str, timeout: float | None) -> list[dict[str, Any]]:
    """One answer for each of ``rows``: {"prediction": …} and other columns as in a JSON lines output, or {"error": …}.

    A row is an object of columns or an array in the order of the features; for an api of JSON values or strings, the value
    itself. ``timeout`` is in seconds, from now on.

    Raises:
        UsageError: no such bundle is configured.
        DataError: the rows do not fit the api.
        OverloadedError, DeadlineError: too many rows wait.
    """
    configured = configured_bundles(app)
    if bundle not in configured:
        known = ", ".join(sorted(configured)) or "none"
        raise UsageError(f"no bundle {bundle!r} is configured on this worker ({BUNDLES}); configured are: {known}")
    if not isinstance(rows, list):
        raise DataError("rows must be an array, one item for each row")
    batcher = _BUNDLES.batcher(bundle, api, configured)
    deadline = None if timeout is None else time.monotonic() + timeout
    future = batcher.submit(_table(batcher, rows), deadline=deadline)
    try:
        answer = future.result(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except FutureTimeoutError:
        future.cancel()
        raise DeadlineError(f"no answer after {timeout} s; send the rows again") from None
    return _shown(answer)


def row_error(answer: Mapping[str, Any]) -> BentobatchError | None:
    """The error of a row's answer, as an exception."""
    error = answer.get("error")
    if not isinstance(error, Mapping) or "stage" not in error:
        return None
    kind = ModelError if error["stage"] == "model" else DataError
    return kind(f"{error['type']}: {error['message']}")


def _table(batcher: MicroBatcher, rows: Sequence[Any]) -> pa.Table:
    adapter = batcher.columns.api.input
    if isinstance(adapter, TabularInput):
        return adapter.table_from_text(json_text(rows).encode(), columns=batcher.columns.names)
    if not adapter.lines:
        raise UsageError(
            f"{type(adapter).__name__} takes no JSON rows: the api {batcher.columns.api.name!r} cannot be asked by message"
        )
    as_they_are = isinstance(adapter, StringInput)
    texts = [row if as_they_are and isinstance(row, str) else json_text(row) for row in rows]
    return pa.table({LINE_COLUMN: pa.array([text.encode() for text in texts], type=pa.large_binary())})


def _shown(answer: Answer) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = [{} for _ in range(answer.rows)]
    if answer.columns.num_columns:  # there are none where every row is bad
        sink = io.BytesIO()
        with part_writer("jsonl", answer.columns.schema, sink) as writer:
            writer.write(answer.columns)
        shown = [orjson.loads(line) for line in sink.getvalue().splitlines()]
    for row in answer.bad:
        shown[row.index] = {"error": _error(row)}
    return shown


def _error(row: BadRow) -> dict[str, str]:
    return {"stage": row.stage, "type": row.error_type, "message": row.error}


def _options(name: str, configured: Mapping[str, Any]) -> dict[str, Any]:
    """
    Raises:
        UsageError: the bundle's configuration is neither a reference nor one with limits.
    """
    entry = configured[name]
    options = dict(entry) if isinstance(entry, Mapping) else {"bundle": entry}
    unknown = sorted(set(options) - {"bundle", *_LIMITS})
    if unknown or not isinstance(options.get("bundle"), str):
        raise UsageError(
            f"the bundle {name!r} of this worker is configured with {unknown or entry!r}: give a tag, a folder or an archive,"
            f" or an object of bundle and {', '.join(_LIMITS)}"
        )
    return options
