"""This module makes input files of what is no file of rows: inline values and JSON documents.

They become Arrow files in the state folder, named by their content, so that everything after is as for any input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import InputAdapter
from bentobatch.engine.store import Store
from bentobatch.errors import DataError
from bentobatch.formats.base import InputFile
from bentobatch.formats.source import open_binary, printable

FOLDER = "inline"
MAX_DOCUMENT = 1 << 30
"""Bytes of one JSON document: it is parsed as a whole, so it must fit into memory several times."""


def inline_file(
    texts: Sequence[str], adapter: InputAdapter, columns: Sequence[str] | None, store: Store
) -> tuple[InputFile, str]:
    """One file of all inline values, in order, and what to call it."""
    tables = []
    for number, text in enumerate(texts, 1):
        try:
            tables.append(adapter.table_from_text(text.encode("utf-8", "surrogateescape"), columns=columns))
        except DataError as error:
            raise DataError(f"--input value {number}: {error}") from error
    return _materialise(tables, store), "--input"


def document_file(
    file: InputFile,
    adapter: InputAdapter,
    columns: Sequence[str] | None,
    store: Store,
    *,
    storage_options: Mapping[str, Any] | None,
) -> InputFile:
    """The rows of one JSON document."""
    if file.size > MAX_DOCUMENT:
        raise DataError(
            f"{printable(file.uri)}: a JSON document of {file.size:,} bytes; write JSON lines (.jsonl) instead"
        )
    with open_binary(file, storage_options) as source:
        text = source.read()
    try:
        table = adapter.table_from_text(text, columns=columns)
    except DataError as error:
        raise DataError(f"{printable(file.uri)}: {error}") from error
    return _materialise([table], store)


def _materialise(tables: Sequence[pa.Table], store: Store) -> InputFile:
    table = pa.concat_tables(tables, promote_options="permissive")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=65_536)
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()
    name = f"{FOLDER}/{digest[:32]}.arrow"
    if store.read(name) != data:
        store.write(name, data)
    return InputFile(uri=store.uri(name), size=len(data), stamp=f"sha256:{digest}", format="arrow")
