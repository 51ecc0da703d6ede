"""This module attacks the online server with bodies: pickles, URLs, paths, bombs. S01, S19, S28, S29 of the security plan."""

from __future__ import annotations

import io
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import joblib
import pyarrow as pa
import pytest

import bentobatch
from bentobatch.adapters import AnnotatedImageInput, DataframeInput, FileInput, JsonInput, MultiFileInput, StringInput
from bentobatch.service.core import ServiceCore
from bentobatch.serving import create_app

ARROW = "application/vnd.apache.arrow.stream"
MEDIA = [
    None,
    "application/octet-stream",
    "application/python-pickle",
    "application/x-pickle",
    "application/vnd.bentoml+pickle",
    "application/json",
    "application/x-www-form-urlencoded",
    "text/csv",
    "text/plain",
    "image/png",
    "multipart/form-data; boundary=b",
    ARROW,
]
HEADERS = [
    {},
    {"BentoML-Is-Merged-Request": "true"},
    {"Bentoml-Is-Batch-Request": "true"},
    {"Payload-Container": "PandasDataFrameContainer", "Payload-Meta": "{}", "Args-Number": "1"},
    {"Content-Encoding": "gzip"},
]


class Attacked(ServiceCore):
    """An api of each kind; what it got is in ``seen``."""

    seen: ClassVar[list[Any]] = []

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return [1] * len(df)

    @bentobatch.api(input=JsonInput())
    def value(self, value):
        return 1

    @bentobatch.api(input=StringInput())
    def text(self, text):
        return 1

    @bentobatch.api(input=FileInput(fetch=True), batch=True)
    def file(self, files):
        self.seen.extend((file.name, file.path, file.uri) for file in files)
        return [1] * len(files)

    @bentobatch.api(input=MultiFileInput(input_names=["left", "right"], fetch=True))
    def pair(self, left, right):
        return 1

    @bentobatch.api(input=AnnotatedImageInput(fetch=True))
    def image(self, image, annotations):
        return 1


ROUTES = ["predict", "value", "text", "file", "pair", "image", "invocations", "feedback", "vertex"]


@pytest.fixture(scope="module")
def client() -> Any:
    """The service in this process."""
    return create_app(Attacked(), predict_route="/vertex").test_client()


class _Canary:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


@pytest.mark.parametrize("route", ROUTES)
def test_no_request_is_unpickled(client: Any, tmp_path: Path, route: str) -> None:
    """S01: at every endpoint, with every Content-Type and header that chose a pickle elsewhere."""
    path = tmp_path / "canary"
    buffer = io.BytesIO()
    joblib.dump(_Canary(path), buffer)
    for pickled in (pickle.dumps(_Canary(path)), cloudpickle.dumps(_Canary(path)), buffer.getvalue()):
        for media in MEDIA:
            for headers in HEADERS:
                sent = {**headers, **({"Content-Type": media} if media else {})}
                answer = client.post(f"/{route}", data=pickled, headers=sent)
                assert answer.status_code < 500, answer.data
                if answer.status_code < 300:  # bytes or text that a file or a text may well be
                    assert route in ("file", "text")
    assert not path.exists()


@pytest.fixture(scope="module")
def connections() -> Iterator[list[tuple[str, Any]]]:
    """What this process looks up and connects to, while a test has it."""
    told: list[tuple[str, Any]] = []
    watching = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching[0] and event in ("socket.connect", "socket.getaddrinfo", "urllib.Request", "subprocess.Popen"):
            told.append((event, arguments))

    sys.addaudithook(hook)  # it cannot be taken away again, only silenced
    yield told
    watching[0] = False


def arrow(**columns: Any) -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


NAMED = [
    "http://169.254.169.254/latest/meta-data/",
    "s3://bucket/key",
    "file:///etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "@/etc/passwd",
]


@pytest.mark.parametrize("name", NAMED)
def test_no_url_and_no_path_of_a_request_is_opened(client: Any, connections: list[Any], name: str) -> None:
    """S19: the server connects to nothing and reads no file for any request, also where the api declares fetch=True."""
    del connections[:]
    Attacked.seen.clear()
    texts = {"left": [name], "right": [name]}
    file = pa.struct([("path", pa.string()), ("uri", pa.binary()), ("content", pa.large_binary())])
    structs = pa.array([{"path": name, "uri": name.encode(), "content": b"x"}], file)
    bodies = [
        ("predict", "application/json", json.dumps([{"a": name}]).encode()),
        ("value", "application/json", json.dumps({"url": name, "uri": name}).encode()),
        ("text", "text/plain", name.encode()),
        ("file", "text/uri-list", name.encode()),
        ("file", ARROW, arrow(file=[name])),
        ("file", ARROW, arrow(file=structs)),
        ("file", "application/json", json.dumps({"uri": name}).encode()),
        ("pair", "application/json", json.dumps({"left": name, "right": name}).encode()),
        ("pair", ARROW, arrow(**texts)),
        ("pair", ARROW, arrow(left=structs, right=structs)),
        ("image", "application/json", json.dumps({"image": name}).encode()),
        ("vertex", "application/json", json.dumps({"instances": [name]}).encode()),
        ("feedback", "application/json", json.dumps({"request_id": name}).encode()),
    ]
    for route, media, body in bodies:
        answer = client.post(f"/{route}", data=body, content_type=media)
        assert answer.status_code < 500, answer.data
        assert b"root:" not in answer.data
        if media == ARROW:
            assert answer.status_code == 400
    assert connections == []
    assert set(Attacked.seen) <= {(None, None, None)}


TORTURE = {
    "endless dashes": b"--b" + b"-" * 2_000_000,
    "a boundary of dashes": b"\r\n--b" * 300_000,
    "many parts": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 20_000,
    "an endless header": b"--b\r\n" + b"X: y" * 500_000,
    "many headers": b"--b\r\n" + b"X: y\r\n" * 300_000,
    "a header of quotes": b'--b\r\nContent-Disposition: form-data; name="' + b'\\"' * 3_500,
    "a header of semicolons": b"--b\r\nContent-Disposition: form-data" + b";a=" * 2_600 + b"\r\n\r\nx\r\n--b--",
    "line feeds": b"\n" * 3_000_000,
    "carriage returns": b"\r" * 3_000_000,
    "half boundaries": b"\r\n--" * 700_000,
    "a preamble": b"x" * 3_000_000 + b"\r\n--b--",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", list(TORTURE))
@pytest.mark.parametrize("route", ["predict", "file", "pair"])
def test_a_torturous_multipart_body_costs_little(client: Any, name: str, route: str) -> None:
    """S28: it is refused. What would take a time that grows with the square of the body's length runs into the time-out."""
    answer = client.post(f"/{route}", data=TORTURE[name], content_type="multipart/form-data; boundary=b")
    assert answer.status_code in (400, 413, 415)


@pytest.mark.parametrize(
    "media",
    [
        "multipart/form-data; boundary=" + "-" * 100_000,
        "multipart/form-data" + "; a=b" * 200_000,
        "multipart/form-data; boundary=" + '"' + "\\" * 50_000,
        "text/csv; charset=" + "u" * 100_000,
        "a/" * 50_000,
    ],
)
def test_a_torturous_content_type_costs_little(client: Any, media: str) -> None:
    """S28: likewise."""
    assert client.post("/predict", data=b"x", content_type=media).status_code in (400, 415)


DEEP = {
    "lists": b"[" * 20_000 + b"]" * 20_000,
    "objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "in a row": b'[{"a":' + b"[" * 1_500 + b"]" * 1_500 + b"}]",
    "just allowed": b'[{"a":' + b"[" * 900 + b"]" * 900 + b"}]",
}


@pytest.mark.parametrize("name", list(DEEP))
@pytest.mark.parametrize("route", ["predict", "value", "vertex", "pair", "feedback"])
def test_deep_json_is_no_crash(client: Any, name: str, route: str) -> None:
    """S29: 20,000 levels are 400, not a RecursionError nor a segmentation fault; and so is what lies at the bound."""
    answer = client.post(f"/{route}", data=DEEP[name], content_type="application/json")
    assert answer.status_code < 500, answer.data
    if name != "just allowed":
        assert answer.status_code == 400


def stream(column: pa.Array, **options: Any) -> bytes:
    """An Arrow stream of one column x."""
    batch = pa.record_batch({"x": column})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def swelling() -> dict[str, bytes]:
    """Small streams that would be much memory, or may be."""
    zeros = pa.array([0.0] * 50_000)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 100_000]))
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([90_000], pa.int32()), pa.array(["x" * 100_000]))
    return {
        "zstd": stream(zeros, compression="zstd"),
        "lz4": stream(zeros, compression="lz4"),
        "a compressed dictionary": stream(pa.array(["x" * 10_000] * 3).dictionary_encode(), compression="zstd"),
        "a long text for each row": stream(long),
        "runs": stream(runs),
        "views": stream(pa.array(["x" * 100] * 10, pa.string_view())),
        "lists of nulls": stream(pa.array([[None] * 10_000] * 100, pa.list_(pa.null()))),
        "fixed lists of nulls": stream(pa.nulls(10, pa.list_(pa.null(), 100_000))),
        "texts of no bytes": stream(pa.array([b""] * 10, pa.binary(0))),
        "structs of nothing": stream(pa.array([[{}] * 10_000] * 100, pa.list_(pa.struct([])))),
        "too many nulls": stream(pa.nulls(10_000_000)),
    }


@pytest.mark.parametrize("name", list(swelling()))
def test_an_arrow_stream_cannot_swell(client: Any, name: str) -> None:
    """S29 for Arrow: what has no bound of its own is refused before it is unpacked."""
    answer = client.post("/predict", data=swelling()[name], content_type=ARROW)
    assert answer.status_code in (400, 413), answer.data


def test_plain_arrow_types_are_taken(client: Any) -> None:
    """Nested ones, dictionaries and dates among them."""
    for column in (
        pa.array([1, None], pa.int8()),
        pa.array(["a", "b", "a"]).dictionary_encode(),
        pa.array([[1.0], []]),
        pa.array([{"a": 1, "b": ["x"]}]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([b"ab"], pa.binary(2)),
        pa.array([0], pa.timestamp("us", "UTC")),
        pa.nulls(2),
    ):
        answer = client.post("/predict", data=stream(column), content_type=ARROW)
        assert answer.status_code == 200, (column.type, answer.data)


SPARSE = {
    "a key for each row": json.dumps([{f"k{row}": 1} for row in range(20_000)]).encode(),
    "a row for each column": json.dumps({f"k{at}": {f"r{at}": 1} for at in range(20_000)}).encode(),
    "indices": json.dumps({f"r{at}": {f"k{at}": 1} for at in range(20_000)}).encode(),
}


@pytest.mark.parametrize("name", list(SPARSE))
def test_rows_with_nothing_in_common_make_no_giant_table(client: Any, name: str) -> None:
    """400 kB of JSON would be 400 million cells."""
    answer = client.post("/predict", data=SPARSE[name], content_type="application/json")
    assert answer.status_code == 400
    assert "different keys" in answer.json["detail"]


@pytest.mark.parametrize("route", ["predict", "value"])
def test_a_header_of_many_names_costs_little(client: Any, route: str) -> None:
    """Also where the last of them is there twice."""
    names = [f"c{at}" for at in range(9_999)]
    body = ",".join([*names, "c1"]) + "\n" + ",".join(["1"] * 10_000)
    assert client.post(f"/{route}", data=body, content_type="text/csv").status_code == 400
