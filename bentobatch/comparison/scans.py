"""This module looks at a file for both sides at once: what is asked of one scan, and what each side is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from bentobatch.formats.base import FileScan, InputFile, ScanOptions
from bentobatch.formats.text_ranges import LINE

_TEXT = ("csv", "jsonl")
"""Formats whose types are found by a scan, column by column; those of all others stand in the file."""


def options_of_both(asked: Sequence[ScanOptions]) -> ScanOptions:
    """One scan that finds what each of these would: the types of all columns that one of them wants and does not declare."""
    tables = [options for options in asked if not options.lines]
    if not tables:
        return asked[0]
    columns: tuple[str, ...] | None = None
    if all(options.columns is not None for options in tables):
        columns = tuple(dict.fromkeys(name for options in tables for name in options.columns or ()))
    declared = {name: type for options in tables for name, type in options.types.items()}
    known = {name: type for name, type in declared.items() if not any(_finds(options, name) for options in tables)}
    return replace(tables[0], columns=columns, types=known)


def answer_for(options: ScanOptions, found: FileScan, file: InputFile) -> FileScan:
    """What a scan by ``options`` alone would have found, from one for both sides."""
    if options.lines:
        return replace(found, schema=pa.schema([(LINE, pa.large_binary())]))
    if file.format == "text":
        return replace(found, schema=pa.schema([(LINE, options.types.get(LINE, pa.string()))]))
    if file.format not in _TEXT:
        return found
    return replace(found, schema=pa.schema([(field.name, _type(options, field)) for field in found.schema]))


def _finds(options: ScanOptions, name: str) -> bool:
    return name not in options.types and (options.columns is None or name in options.columns)


def _type(options: ScanOptions, field: pa.Field) -> Any:
    if field.name in options.types:
        return options.types[field.name]
    return field.type if _finds(options, field.name) else pa.null()
