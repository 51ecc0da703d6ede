"""This module plans inputs whose rows are files: folders, globs and single files, for apis that take files.

The files are cut into groups, each of which becomes a listing in the state folder (formats.binary_files) and one split.
Where a group ends depends on the names in it, so that one more file in a folder changes one group, and the finished
splits of the others are taken over.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.files import FilesInput
from bentobatch.engine.inline import FOLDER
from bentobatch.engine.job import BatchJob
from bentobatch.engine.place import absolute
from bentobatch.engine.store import Store, is_url
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.base import Chunk, InputFile
from bentobatch.formats.binary_files import NAME, Row, input_names, listed_rows, listing, read_listing
from bentobatch.formats.discover import FoundFile, discover_any
from bentobatch.formats.file_bytes import FileIdentity
from bentobatch.formats.file_columns import FileColumns
from bentobatch.formats.source import printable
from bentobatch.service.apis import InferenceAPI

TABLES = frozenset({"parquet", "csv", "jsonl", "arrow", "orc"})
"""Formats whose files are tables with a column of files; a file of any other kind is a value itself."""
_SMALLEST_GROUP, _LARGEST_GROUP, _GROUPS = 32, 1024, 64
_GROUP_BYTES = 256 << 20

Found = Mapping[str, Sequence[FoundFile]]


def find_files(
    job: BatchJob, api: InferenceAPI, storage_options: Mapping[str, Any] | None = None
) -> Mapping[str, Sequence[FoundFile]] | None:
    """The files that are rows themselves, for each input of the api; None where the input is a table, or inline values.

    Raises:
        UsageError: the api takes no files, or others than those that were named.
        DataError: tables among other files.
        NoInputError, StorageError: see discover.
    """
    named = {name.replace("-", "_"): paths for name, paths in job.named_files}
    if not isinstance(api.input, FilesInput):
        if named or job.format == NAME:
            raise UsageError(f"api {api.name!r} takes no files as values, its input is {type(api.input).__name__}")
        return None
    names = api.input.input_names
    if named:
        return {name: discover_any(paths, storage_options=storage_options) for name, paths in _matched(named, names)}
    paths = _named_inline(job.inputs)
    if paths is None:
        if job.inputs or job.format not in (None, NAME):
            return None
        found = discover_any(job.input_files, storage_options=storage_options)
        if job.format is None and _are_tables(found):
            return None
    elif len(names) == 1:
        found = discover_any(paths, storage_options=storage_options)
    if len(names) > 1:
        flags = " ".join(f"--input-file-{name.replace('_', '-')} PATH" for name in names)
        raise UsageError(f"api {api.name!r} takes {len(names)} files for each row: give {flags}, or a table")
    return {names[0]: found}


def _matched(named: Mapping[str, Sequence[str]], names: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The inputs of the api that were given, in its order. Names may be spelled with - for _."""
    spelled = {name.replace("-", "_"): name for name in names}
    for name in named:
        if name not in spelled:
            raise UsageError(f"the api has no input {name!r}, only {', '.join(names)}")
    yield from ((name, named[short]) for short, name in spelled.items() if short in named)


def _named_inline(texts: Sequence[str]) -> list[str] | None:
    """The paths of ``--input @path``; None where the values are not of that form."""
    given = [text.startswith("@") for text in texts]
    if not any(given):
        return None
    if not all(given):
        raise UsageError("--input: give either files (@PATH) or values, and not both")
    return [absolute(text[1:]) for text in texts]


def _are_tables(found: Sequence[FoundFile]) -> bool:
    tables = [file for file in found if file.format in TABLES]
    if tables and len(tables) < len(found):
        other = next(file for file in found if file.format not in TABLES)
        raise DataError(
            f"mixed formats: {printable(tables[0].uri)} and {printable(other.uri)}: name the tables or the other files"
            f" alone, or say --format {NAME} if each file is a value"
        )
    return bool(tables)


def write_listings(
    found: Found, api: InferenceAPI, store: Store, *, split_rows: int
) -> tuple[list[InputFile], dict[str, str]]:
    """Listings of the files, one for each split, and what to call them."""
    names = api.input.input_names  # type: ignore[attr-defined]
    rows = paired(found, names)
    files: list[InputFile] = []
    labels: dict[str, str] = {}
    for group in _groups(rows, split_rows):
        file = _write(listing(group, names), store)
        files.append(file)
        labels[file.uri] = _label(group)
    return files, labels


def paired(found: Found, names: Sequence[str]) -> list[Row]:
    """The files that belong together. Files that were all named themselves, as many for each input, belong together in
    their order; others by their paths below the folders that were given, without extension.

    Raises:
        DataError: two files of one input have the same path without extension.
    """
    each = {name: found.get(name, ()) for name in names}
    first = next(name for name in names if each[name])
    if len(names) == 1:
        return [(file.path, {first: _identity(file)}) for file in each[first]]
    counts = {len(files) for files in each.values()}
    if len(counts) == 1 and all(file.explicit for files in each.values() for file in files):
        return [
            (files[0].path, {name: _identity(file) for name, file in zip(names, files, strict=True)})
            for files in zip(*each.values(), strict=True)
        ]
    by_stem: dict[str, dict[str, FoundFile]] = {}
    for name in names:
        for file in each[name]:
            row = by_stem.setdefault(os.path.splitext(file.path)[0], {})
            if name in row:
                raise DataError(
                    f"{printable(row[name].uri)} and {printable(file.uri)} have one name but for the extension, so it is"
                    f" not known which of them belongs to a row: give one of them for {name}"
                )
            row[name] = file
    return [
        (next(iter(row.values())).path, {name: _identity(file) for name, file in row.items()})
        for row in by_stem.values()
    ]


def _identity(file: FoundFile) -> FileIdentity:
    return FileIdentity(file.uri, file.size, file.stamp)


def _groups(rows: Sequence[Row], split_rows: int) -> Iterator[list[Row]]:
    """Cut after a row whose path hashes to 0, so that a cut stays where it is when other files come or go; the usual
    size of a group doubles with the number of files, so that there is work for many workers and no dust of splits."""
    usual = _SMALLEST_GROUP
    while usual < _LARGEST_GROUP and usual * 2 * _GROUPS <= len(rows):
        usual *= 2
    usual = min(usual, split_rows)
    group: list[Row] = []
    held = 0
    for row in rows:
        size = sum(max(file.size, 0) for file in row[1].values())
        if group and held + size > _GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append(row)
        held += size
        is_mark = zlib.crc32(os.fsencode(row[0])) % max(1, usual // 2) == 0
        if len(group) >= min(2 * usual, split_rows) or (len(group) >= usual // 2 and is_mark):
            yield group
            group, held = [], 0
    if group:
        yield group


def _label(rows: Sequence[Row]) -> str:
    """What to call a group: its one file, or the first one's folder."""
    uri = next(iter(rows[0][1].values())).uri
    return uri if len(rows) == 1 else uri.rpartition("/")[0] or "/"


def _write(table: pa.Table, store: Store) -> InputFile:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()
    name = f"{FOLDER}/{digest[:32]}.arrow"
    if store.read(name) != data:
        store.write(name, data)
    return InputFile(uri=store.uri(name), size=len(data), stamp=f"sha256:{digest}", format=NAME)


def listed_again(file: InputFile, store: Store, storage_options: Mapping[str, Any] | None = None) -> InputFile:
    """A listing of the same files as they are now, for a redrive after some of them were mended."""
    table = read_listing(file, storage_options)
    names = input_names(table)
    rows: list[Row] = []
    for path, files in listed_rows(table):
        now = {
            name: _identity(discover_any([each.uri], storage_options=storage_options)[0])
            for name, each in files.items()
        }
        rows.append((path, now))
    return _write(listing(rows, names), store)


def held_files(
    files: Sequence[Mapping[str, Any]], storage_options: Mapping[str, Any] | None = None
) -> dict[str, FileIdentity]:
    """The files, by path or URL, in those ``files`` (fields of InputFile, from a commit record) that are listings."""
    held: dict[str, FileIdentity] = {}
    for fields in files:
        if fields["format"] == NAME:
            table = read_listing(InputFile(**{**fields, "partition": ()}), storage_options)
            held.update({each.uri: each for _, row in listed_rows(table) for each in row.values()})
    return held


def is_new(file: FoundFile, held: Mapping[str, FileIdentity], instead: str) -> bool:
    """Whether an output that holds the files ``held`` lacks this one.

    Raises:
        UsageError: the file is another than the one that it holds. Its row stands in a part with rows of other files, so
            it cannot be replaced.
    """
    known = held.get(file.uri)
    if known is not None and known != _identity(file):
        raise UsageError(
            f"{printable(file.uri)} changed since the output scored it, and --only-new only adds files: {instead}"
        )
    return known is None


def with_files(
    chunks: Iterator[Chunk],
    api: InferenceAPI,
    *,
    features: Sequence[str],
    job: BatchJob,
    origin: str | None,
    storage_options: Mapping[str, Any] | None,
) -> Iterator[Chunk]:
    """The chunks with the files that their columns name, where the api takes files; else as they are. ``origin`` is the
    path or URL of the table that they come from, None if that is no file of the user's."""
    if not isinstance(api.input, FilesInput) or len(features) != len(api.input.input_names):
        return chunks
    root = job.files_root
    if root is None and origin is not None:
        root = origin.rpartition("/")[0] or "/" if is_url(origin) or os.path.isabs(origin) else None
    columns = FileColumns(tuple(features), root, api.input.fetch, job.batch_bytes, storage_options)
    return columns.attach(chunks)
