"""This module tests how files are opened: odd names, URLs, and errors that name the file and keep secrets."""

from __future__ import annotations

import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import fsspec
import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from bentobatch.errors import DataError, MissingDependencyError, NoInputError, StorageError, UsageError
from bentobatch.formats.base import InputFile
from bentobatch.formats.discover import discover
from bentobatch.formats.source import (
    arrow_errors,
    base_name,
    filesystem_of,
    is_url,
    open_arrow,
    open_binary,
    printable,
    storage_errors,
)

ODD_NAMES = [
    b"per%20cent#hash?q.bin",
    b"-dash.bin",
    b"quote'\".bin",
    b"with space.bin",
    b"bad\xff.bin",
    b"s3:.bin",
    b"a::b",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_local_file_of_any_name_can_be_opened(tmp_path, name):
    """Local paths are never parsed as URLs, and need not be UTF-8."""
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "wb") as stream:
        stream.write(b"hello")
    file = InputFile(os.fsdecode(path), 5, "", "text")
    with open_binary(file) as binary:
        assert binary.read() == b"hello"
        binary.seek(1)
        assert binary.read(2) == b"el"
    with open_arrow(file) as arrow:
        assert arrow.read() == b"hello"


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_url_is_read_through_fsspec(memory):
    """Both readers take fsspec URLs; the binary one is seekable and buffered."""
    memory.pipe("/b/x", bytes(range(256)) * 9000)
    file = InputFile("memory://b/x", 256 * 9000, "", "text")
    with open_binary(file) as binary:
        assert binary.seekable()
        binary.seek(256 * 8999)
        assert binary.read() == bytes(range(256))
        binary.seek(3)
        assert binary.read(2) == b"\x03\x04"
    with open_arrow(file) as arrow:
        assert arrow.size() == 256 * 9000
        arrow.seek(255)
        assert arrow.read(2) == b"\xff\x00"


class _Plain(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()
        self.wfile.write(b"id\n1\n")

    def _answer(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_a_web_server_without_ranges_is_read_whole(tmp_path):
    """The stream of such a server cannot seek; it is spooled, so that the reader can."""
    server = HTTPServer(("127.0.0.1", 0), _Plain)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        (file,) = discover([f"http://127.0.0.1:{server.server_port}/x.csv"])
        assert (file.size, file.format) == (5, "csv")
        with open_binary(file) as binary:
            binary.seek(3)
            assert binary.read() == b"1\n"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_absent_file_is_no_input(tmp_path, memory):
    """66, whoever opens it, and wherever it is not."""
    for uri in (str(tmp_path / "gone"), "memory://gone/x"):
        for opener in (open_binary, open_arrow):
            with pytest.raises(NoInputError, match=r"No such file or directory: .*gone"):
                opener(InputFile(uri, 1, "", "text"))


def test_an_empty_or_grown_file_is_refused_by_the_typed_opener(tmp_path):
    """Typed files are never empty, and one whose size changed after planning is not read."""
    path = tmp_path / "x"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"empty file \(size 0\)"):
        open_arrow(InputFile(str(path), 0, "", "parquet"))
    path.write_bytes(b"abc")
    with pytest.raises(DataError, match=r"changed while it was read \(2 bytes, now 3\)"):
        open_arrow(InputFile(str(path), 2, "", "parquet"))


def test_an_unknown_scheme_is_a_usage_error():
    """The message names the scheme; nothing of fsspec's traceback is needed."""
    with pytest.raises(UsageError, match="unknown scheme 's4'"):
        filesystem_of("s4://bucket/x")
    with pytest.raises(UsageError, match="unknown scheme 'nocache'"):
        filesystem_of("nocache::memory://bucket/x")


@pytest.mark.parametrize(("url", "library", "extra"), [("s3://b/x", "s3fs", "s3"), ("gs://b/x", "gcsfs", "gcs")])
def test_a_missing_library_is_named_by_its_extra(monkeypatch, url, library, extra):
    """The cure is the extra of this distribution."""
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    for scheme in [scheme for scheme in _registry if scheme in ("s3", "s3a", "gs", "gcs")]:
        monkeypatch.delitem(_registry, scheme)
    with pytest.raises(MissingDependencyError, match=rf"pip install bentobatch\[{extra}\]"):
        filesystem_of(url)


class _Failing(MemoryFileSystem):
    """A file system whose failures repeat what they were configured with, as some do."""

    protocol = "failing"
    cachable = False

    def __init__(self, secret="", nested=None, kind=RuntimeError, **options):
        super().__init__(**options)
        self.failure = kind(f"denied for {secret} and {nested}\nsecond line")

    def _open(self, path, mode="rb", **options):
        raise self.failure


@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyError])
def test_storage_options_stay_out_of_errors(monkeypatch, kind):
    """What a library says may repeat a credential; neither the message nor a chained exception shows it."""
    monkeypatch.setitem(_registry, "failing", _Failing)
    options = {"secret": "hunter22", "nested": {"token": "tok-999"}, "kind": kind}
    with pytest.raises(StorageError, match="cannot read failing://b/x") as caught:
        open_binary(InputFile("failing://b/x", 1, "", "text"), options)
    assert "hunter22" not in str(caught.value)
    assert "tok-999" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_error_while_reading_is_a_storage_error(memory, monkeypatch):
    """The libraries behind a URL raise what they like; through both readers it is 74 and one line."""
    memory.pipe("/b/x", b"12345678")

    def broken(self, *arguments):
        raise ConnectionResetError(104, "Connection reset by peer")

    file = InputFile("memory://b/x", 8, "", "text")
    with open_binary(file) as binary, open_arrow(file) as arrow:
        monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", broken, raising=False)
        monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.readinto", broken, raising=False)
        with pytest.raises(StorageError, match="cannot read memory://b/x: Connection reset by peer"):
            binary.read()
        with pytest.raises(StorageError, match="cannot read memory://b/x: Connection reset by peer"):
            arrow.read()
        monkeypatch.undo()


def test_arrow_errors_tell_the_disk_from_the_content():
    """pyarrow raises OSError for both; only that of the disk has an errno."""
    file = InputFile("/data/x.parquet", 1, "", "parquet")
    with (
        pytest.raises(DataError, match=r"/data/x.parquet: broken Parquet file: corrupt"),
        arrow_errors(file, "Parquet"),
    ):
        raise OSError("corrupt\ndetails")
    with pytest.raises(StorageError, match="Input/output error"), arrow_errors(file, "Parquet"):
        raise OSError(5, "Input/output error")
    with pytest.raises(MemoryError), arrow_errors(file, "Parquet"):
        raise MemoryError


def test_a_local_bug_is_not_dressed_up_as_a_storage_error():
    """Only URLs have libraries behind them that raise anything."""
    with pytest.raises(KeyError), storage_errors("/data/x"):
        raise KeyError("bug")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/a/b c.csv", "/a/b c.csv"),
        (os.fsdecode(b"/a/bad\xff.csv"), "/a/bad\\xff.csv"),
        ("/a/new\nline\x1b[31m", "/a/new\\nline\\x1b[31m"),
        ("/a/\ud800", "/a/\\ud800"),
        ("/a/ä漢", "/a/ä漢"),
        ("sftp://me:secret@host/x", "sftp://***@host/x"),
        ("https://host/x?X-Amz-Signature=abc", "https://host/x?***"),
        ("s3://b/k?x", "s3://b/k?x"),
    ],
)
def test_printable_is_one_line_without_secrets(uri, shown):
    """Messages go to terminals and logs: no control characters, no invalid text, no credentials."""
    assert printable(uri) == shown
    printable(uri).encode()


def test_what_is_a_url():
    """Only scheme://, with wrappers before it; everything else is a path."""
    assert [is_url(uri) for uri in ("s3://b", "simplecache::s3://b", "zip://a::/z.zip")] == [True] * 3
    assert [is_url(uri) for uri in ("/a://b", "a::b", "s3:/b", "C:\\x", "-://x")] == [False] * 5


def test_the_base_name_of_a_url_is_that_of_the_file_inside():
    """Not the query's, and not the archive's around it."""
    assert base_name("/d/x?y.csv") == "x?y.csv"
    assert base_name("s3://b/dir/part-2.parquet") == "part-2.parquet"
    assert base_name("https://h/d/x.csv?sig=a/b#c") == "x.csv"
    assert base_name("zip://d/a.csv::/tmp/z.zip") == "a.csv"
    assert base_name("simplecache::s3://b/a.csv") == "a.csv"


@pytest.mark.parametrize(("asked", "raised"), [(1 << 60, DataError), (1000, MemoryError)])
def test_a_file_that_asks_for_more_than_all_memory_is_broken(asked, raised):
    """Whatever else runs on the machine; what might fit at another time is a shortage, not the file's fault."""
    with pytest.raises(raised), arrow_errors(InputFile("/data/x.arrow", 10, "", "arrow"), "Arrow"):
        raise pa.ArrowMemoryError(f"malloc of size {asked} failed")
