"""This module writes what a format is asked and what it answers as JSON, and chunks as Arrow files beside it, so that one
process can read for another."""

from __future__ import annotations

import base64
import errno
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from bentobatch.engine.plan import schema_from_text, schema_to_text
from bentobatch.errors import StorageError
from bentobatch.formats.base import Chunk, FileScan, InputFile, Origin, Range, ReadPlan, ScanOptions
from bentobatch.formats.convert import rows_without_columns
from bentobatch.rows import BadRow


def file_to_json(file: InputFile) -> dict[str, Any]:
    """A file as JSON values."""
    return asdict(file)


def file_from_json(data: Mapping[str, Any]) -> InputFile:
    """The file that ``file_to_json`` wrote."""
    return InputFile(**{**data, "partition": tuple((name, value) for name, value in data["partition"])})


def piece_to_json(piece: Range) -> list[int]:
    """A range as JSON values."""
    return [piece.start, piece.stop, piece.rows, piece.first_row, piece.skip, piece.first_line]


def options_to_json(options: ScanOptions) -> dict[str, Any]:
    """What a scan is asked, as JSON values."""
    return {**vars(options), "types": schema_to_text(pa.schema(list(options.types.items())))}


def options_from_json(data: Mapping[str, Any]) -> ScanOptions:
    """The options that ``options_to_json`` wrote."""
    types = schema_from_text(data["types"])
    columns = None if data["columns"] is None else tuple(data["columns"])
    declared = dict(zip(types.names, types.types, strict=True))
    return ScanOptions(**{**data, "columns": columns, "types": declared, "nulls": tuple(data["nulls"])})


def plan_to_json(plan: ReadPlan) -> dict[str, Any]:
    """How a range is read, as JSON values."""
    return {**vars(plan), "schema": schema_to_text(plan.schema)}


def plan_from_json(data: Mapping[str, Any]) -> ReadPlan:
    """The plan that ``plan_to_json`` wrote."""
    return ReadPlan(**{**data, "schema": schema_from_text(data["schema"]), "nulls": tuple(data["nulls"])})


def scan_to_json(scan: FileScan) -> dict[str, Any]:
    """What a scan found, as JSON values."""
    ranges = [piece_to_json(piece) for piece in scan.ranges]
    return {"rows": scan.rows, "schema": schema_to_text(scan.schema), "ranges": ranges, "row_bytes": scan.row_bytes}


def scan_from_json(data: Mapping[str, Any]) -> FileScan:
    """The scan that ``scan_to_json`` wrote."""
    ranges = tuple(Range(*piece) for piece in data["ranges"])
    return FileScan(data["rows"], schema_from_text(data["schema"]), ranges, data["row_bytes"])


def chunk_to_json(chunk: Chunk, place: Callable[[], str]) -> dict[str, Any]:
    """A chunk as JSON values; its rows are written to files at the paths that ``place`` gives."""
    return {
        "rows": chunk.batch.num_rows,
        "batch": _written(chunk.batch, place()),
        "features": None if chunk.features is None else _written(chunk.features, place()),
        "bad": [_bad_to_json(row) for row in chunk.bad],
        "first_line": chunk.first_line,
        "lines": _numbers(chunk.lines),
        "files": None if chunk.files is None else list(chunk.files),
        "origins": [
            [origin.start, origin.file, origin.file_row, origin.first_line, _numbers(origin.lines)]
            for origin in chunk.origins
        ],
    }


def files_of(data: Mapping[str, Any]) -> list[str]:
    """The paths of the files that hold a chunk's rows."""
    return [data[name] for name in ("batch", "features") if data[name] is not None]


def chunk_from_json(data: Mapping[str, Any], schema: pa.Schema) -> Chunk:
    """The chunk that ``chunk_to_json`` wrote, of the plan's ``schema``; its rows are mapped."""
    return Chunk(
        _mapped(data["batch"]) if len(schema) else rows_without_columns(data["rows"]),
        tuple(_bad_from_json(row) for row in data["bad"]),
        data["first_line"],
        _array(data["lines"]),
        None if data["features"] is None else _mapped(data["features"]),
        data["files"],
        tuple(
            Origin(start, file, file_row, first_line, _array(lines))
            for start, file, file_row, first_line, lines in data["origins"]
        ),
    )


def _bad_to_json(row: BadRow) -> list[Any]:
    raw = None if row.raw is None else base64.b64encode(row.raw).decode("ascii")
    return [row.index, row.stage, row.error_type, row.error, row.line, raw]


def _bad_from_json(values: Sequence[Any]) -> BadRow:
    *plain, raw = values
    index, stage, error_type, error, line = plain
    return BadRow(index, stage, error_type, error, line, None if raw is None else base64.b64decode(raw))


def _numbers(lines: Sequence[int] | None) -> list[int] | None:
    return None if lines is None else [int(line) for line in lines]


def _array(lines: list[int] | None) -> Sequence[int] | None:
    return None if lines is None else array("q", lines)


def _written(batch: pa.RecordBatch, path: str) -> str:
    try:
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        raise StorageError(f"cannot keep rows for both bundles in {Path(path).parent}: {_reason(error)}") from error
    return path


def _reason(error: OSError) -> str:
    """What the system says; Arrow gives it a text of its own."""
    if error.errno is None:
        return " ".join(str(error).split())
    return os.strerror(error.errno) + ("; free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "")


def _mapped(path: str) -> pa.RecordBatch:
    with pa.memory_map(path) as source, pa.ipc.open_stream(source) as reader:
        return reader.read_next_batch()
