"""This module tests FileInput and MultiFileInput: bytes, files of batch jobs, and what is no file."""

from __future__ import annotations

import base64
import json

import pyarrow as pa
import pytest

from bentobatch.adapters import FileInput, MultiFileInput
from bentobatch.errors import DataError, UsageError
from bentobatch.formats.binary_files import file_array
from tests.conformance.adapter_suite import InputAdapterSuite


def one(array):
    """A batch of one column whose name means nothing."""
    return pa.record_batch([array], names=["anything"])


class TestFileInputOverBytes(InputAdapterSuite):
    """FileInput over a column of bytes, as Parquet has them."""

    def make(self):
        return FileInput(fetch=True)

    def good_batch(self):
        return one(pa.array([b"a", b"", b"\xff\0", b"d" * 1000]))

    def bad_batch(self):
        return one(pa.array([b"a", None, b"c", None])), [1, 3]

    def inline(self):
        return b"any bytes \xff", 1

    def values(self, converted):
        return [file.getvalue() for file in converted.args[0]]


class TestFileInputOverFiles(TestFileInputOverBytes):
    """FileInput over the files of a folder."""

    def good_batch(self):
        return one(file_array([(f"sub/{name}", f"/data/sub/{name}", name.encode()) for name in "abcd"]))

    def bad_batch(self):
        return one(file_array([("a", "/data/a", b"a"), None, None, ("d", None, b"d")])), [1, 2]


class TestMultiFileInput(InputAdapterSuite):
    """MultiFileInput over two columns."""

    def make(self):
        return MultiFileInput(["left", "right"], http_input_example={})

    def good_batch(self):
        rows = [b"a", b"b", b"c", b"d"]
        return pa.record_batch({"right": [row * 2 for row in rows], "left": rows})

    def bad_batch(self):
        return pa.record_batch({"left": [b"a", None, b"c", None], "right": [b"a", b"b", None, None]}), [1, 2, 3]

    def inline(self):
        return json.dumps({"left": base64.b64encode(b"l").decode(), "right": ""}).encode(), 1

    def values(self, converted):
        return [(left.getvalue(), right.getvalue()) for left, right in zip(*converted.args, strict=True)]


class TestMultiFileInputWithNone(TestMultiFileInput):
    """MultiFileInput whose files may be missing, but not all of them."""

    def make(self):
        return MultiFileInput(["left", "right"], allow_none=True)

    def bad_batch(self):
        return pa.record_batch({"left": [b"a", None, b"c", None], "right": [b"a", b"b", None, None]}), [3]

    def values(self, converted):
        return [
            tuple(None if file is None else file.getvalue() for file in row)
            for row in zip(*converted.args, strict=True)
        ]


def test_a_stream_knows_where_it_came_from():
    """``name``, ``uri`` and ``path`` are those of BentoML 0.13; bytes of a column have none of them."""
    batch = one(file_array([("sub/a.bin", "/data/sub/a.bin", b"a"), ("b", "s3://bucket/b.bin", b"b")]))
    local, remote = FileInput().convert(batch).args[0]
    assert (local.name, local.uri, local.path) == ("a.bin", "/data/sub/a.bin", "/data/sub/a.bin")
    assert (remote.name, remote.uri, remote.path) == ("b.bin", "s3://bucket/b.bin", None)
    (plain,) = FileInput().convert(one(pa.array([b"x"]))).args[0]
    assert (plain.name, plain.uri, plain.path, plain.read()) == (None, None, None, b"x")


def test_a_name_that_is_no_utf8_comes_through():
    """File names are bytes; Python spells them with surrogates."""
    (file,) = FileInput().convert(one(file_array([("bad\\xff", "/data/bad\udcff", b"a")]))).args[0]
    assert file.path == "/data/bad\udcff"


def test_a_path_in_a_column_is_never_opened_by_the_adapter(tmp_path):
    """Whoever calls the adapter with text (a server, Spark) must not be made to read files of this machine."""
    (tmp_path / "secret").write_bytes(b"secret")
    converted = FileInput().convert(one(pa.array([str(tmp_path / "secret"), "http://host/x", None])))
    assert converted.rows == 0
    assert ["only batch jobs" in row.error for row in converted.bad] == [True, True, False]


def test_a_missing_partner_is_named_with_the_file_that_lacks_it():
    """The rejects file says which file of which input is missing."""
    batch = pa.record_batch([file_array([("a.png", "/x/a.png", b"a")]), file_array([None])], names=["left", "right"])
    (bad,) = MultiFileInput(["left", "right"]).convert(batch).bad
    assert bad.error == "a.png: no file for 'right'"


@pytest.mark.parametrize(
    "batch",
    [
        pa.record_batch({"a": [b"x"], "b": [b"y"]}),
        pa.record_batch({"a": [1]}),
        pa.record_batch({"a": [b"x"]}).select([]),
    ],
)
def test_other_columns_are_refused_by_name(batch):
    """One column of bytes or paths; the message tells what is there and what to do."""
    with pytest.raises(DataError, match=r"one column of bytes.*the input has: .*--features"):
        FileInput().convert(batch)
    with pytest.raises(DataError, match=r"the columns left, right of bytes"):
        MultiFileInput(["left", "right"]).convert(batch)


@pytest.mark.parametrize("names", [[], "left", ["left", "LEFT"], ["path"], ["_x"], ["a b"], [1]])
def test_names_that_cannot_be_options_are_refused(names):
    """An input's name stands in ``--input-file-NAME`` and in the listing of files."""
    with pytest.raises(UsageError):
        MultiFileInput(names)


@pytest.mark.parametrize("text", [b"no json", b"[]", b"{}", b'{"other": ""}', b'{"left": "!"}', b'{"left": 1}'])
def test_inline_rows_of_several_files_are_objects_of_base64(text):
    """Anything else is one line that says what is expected."""
    with pytest.raises(DataError):
        MultiFileInput(["left", "right"]).table_from_text(text)
