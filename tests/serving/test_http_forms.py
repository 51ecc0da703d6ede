"""This module tests the forms that requests and answers may have, for every adapter, in one process."""

from __future__ import annotations

import gzip
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import bentobatch
from bentobatch.errors import TooManyRejectsError
from tests.serving.ways import Answer, Way

ARROW = "application/vnd.apache.arrow.stream"


def arrow(**columns: list[Any]) -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def multipart(*parts: tuple[str, str | None, str | None, bytes]) -> tuple[str, bytes]:
    """Name, file name, media type and content of each part."""
    body = b""
    for name, file, media, content in parts:
        head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        kind = f"\r\nContent-Type: {media}" if media else ""
        body += b"--frontier\r\n" + (head + kind).encode() + b"\r\n\r\n" + content + b"\r\n"
    return "multipart/form-data; boundary=frontier", body + b"--frontier--\r\n"


ORIENTS = {
    "values": [[1, 2, 3], [4, 5, 6]],
    "records": [{"a": 1, "b": 2, "c": 3}, {"b": 5, "a": 4, "c": 6}],
    "columns of lists": {"a": [1, 4], "b": [2, 5], "c": [3, 6]},
    "columns": {"c": {"0": 3, "1": 6}, "a": {"0": 1, "1": 4}, "b": {"0": 2, "1": 5}},
    "index": {"0": {"a": 1, "b": 2, "c": 3}, "1": {"a": 4, "b": 5, "c": 6}},
    "split": {"columns": ["b", "a", "c"], "index": [7, 8], "data": [[2, 1, 3], [5, 4, 6]]},
}


@pytest.mark.parametrize("orient", list(ORIENTS))
def test_json_tables_of_every_orient_are_taken(client: Way, orient: str) -> None:
    """The orients of pandas, by their shape, matched by name where they have names."""
    assert client.post("/predict", json.dumps(ORIENTS[orient]).encode()).body == b"[6.0,15.0]\n"


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("text/csv", b"a,b,c\n1,2,3\n4,5,6\n"),
        ("text/csv; charset=utf-8", b'\xef\xbb\xbfa,"b",c\r\n1,"2",3\r\n4,5,6'),
        ("text/csv; charset=utf-16", "c,b,a\n3,2,1\n6,5,4\n".encode("utf-16")),
        ("application/x-ndjson", b'{"a":1,"b":2,"c":3}\n\n[4,5,6]\n'[:21] + b'{"c":6,"b":5,"a":4}'),
        ("text/csv; header=absent", b"1,2,3\n4,5,6\n"),
        ("application/x-ndjson", b"[1,2,3]\n[4,5,6]\n"),
        (ARROW, arrow(c=[3.0, 6.0], a=[1, 4], b=[2, 5])),
        multipart(("data", "rows.csv", "text/csv", b"a,b,c\n1,2,3\n4,5,6\n")),
        multipart(("data", "rows.json", "application/json", b"[[1,2,3],[4,5,6]]")),
        multipart(("note", None, None, b"hello"), ("data", "rows.arrow", ARROW, arrow(a=[1, 4], b=[2, 5], c=[3, 6]))),
    ],
)
def test_tables_are_taken_in_every_form(client: Way, media: str, body: bytes) -> None:
    """The same two rows as CSV, JSON lines, an Arrow stream, and a file in a form."""
    answer = client.post("/predict", body, media)
    assert (answer.status, answer.body) == (200, b"[6.0,15.0]\n"), answer


def test_each_request_is_read_by_itself(client: Way) -> None:
    """D6 of BentoML: texts stay texts, "007" in JSON too, and widths do not mix."""
    answers = [
        client.post("/anything", body).body
        for body in (b'[{"a": "007"}]', b'[{"a": 7}]', b'[{"a": 7.5, "b": true}]', b'[{"a": "NA"}]')
    ]
    assert [json.loads(answer)[0] for answer in answers] == [
        "1 columns: str",
        "1 columns: int64",
        "2 columns: float64, bool",
        "1 columns: str",
    ]


def test_a_null_among_whole_numbers_keeps_them_whole(client: Way) -> None:
    """Where the api declares no dtype, a null does not make floats of the request's integers."""
    assert (
        client.post("/anything", b'[{"a": 9007199254740993}, {"a": null}]').body
        == b'["1 columns: Int64","1 columns: Int64"]\n'
    )


@pytest.mark.parametrize(
    ("accept", "media", "body"),
    [
        ("text/csv", "text/csv; charset=utf-8; header=present", b'"total"\n6\n""\n'),
        ("application/json;q=0.1, text/csv;q=0.2", "text/csv; charset=utf-8; header=present", b'"total"\n6\n""\n'),
        ("*/*", "application/json", b"[6.0,null]\n"),
        ("application/*", "application/json", b"[6.0,null]\n"),
        ("text/html, */*;q=0.1", "application/json", b"[6.0,null]\n"),
    ],
)
def test_the_answer_has_the_form_that_is_accepted(client: Way, accept: str, media: str, body: bytes) -> None:
    """JSON by default; of several the one with the greater weight."""
    answer = client.post("/predict", b"[[1,2,3],[null,2,3]]", Accept=accept)
    assert answer.headers["content-type"] == media
    if media.startswith("text/csv"):
        assert answer.body.splitlines()[:2] == body.splitlines()[:2]
    else:
        assert answer.body == body


def test_an_arrow_answer_has_the_types_of_the_output_schema(client: Way) -> None:
    """NaN stays NaN there."""
    answer = client.post("/predict", b"[[1,2,3],[null,2,3]]", Accept=ARROW)
    table = pa.ipc.open_stream(answer.body).read_all()
    assert table.schema == pa.schema([("total", pa.float64())])
    first, second = table.column("total").to_pylist()
    assert first == 6.0
    assert math.isnan(second)


def test_what_cannot_be_accepted_is_406(client: Way) -> None:
    """And the request is not scored."""
    answer = client.post("/predict", b"[[1,2,3]]", Accept="image/png")
    assert (answer.status, json.loads(answer.body)["title"]) == (406, "Not Acceptable")


def test_a_matrix_is_a_list_of_lists_and_a_frame_has_the_orient_that_it_declares(client: Way) -> None:
    """As BentoML's users know it."""
    assert client.post("/proba", b"[[1,2,1],[4,0,0]]").body == b"[[0.25,0.5,0.25],[1.0,0.0,0.0]]\n"
    assert client.post("/frame", b"[[1,2,3]]").body == b'{"columns":["low","who"],"index":[0],"data":[[1.0,"x"]]}\n'


def test_one_json_value_gets_one_answer_and_the_task_has_the_headers(client: Way) -> None:
    """batch=False, with the task of BentoML."""
    answer = client.post("/echo", b'{"deep": [1, {"x": null}], "big": 123456789012345678901234567890}', X_Color="red")
    assert json.loads(answer.body) == {
        "value": {"deep": [1, {"x": None}], "big": 123456789012345678901234567890},
        "header": "red",
        "method": "POST",
    }


def test_a_list_of_values_is_asked_for_by_header_or_as_json_lines(client: Way) -> None:
    """BentoML's Bentoml-Is-Batch-Request; and one value for each line."""
    assert client.post("/upper", b'["a", "b"]', Bentoml_Is_Batch_Request="true").body == b'["A","B"]\n'
    answer = client.post("/echo", b"[1, 2]", Bentoml_Is_Batch_Request="true")
    assert [each["value"] for each in json.loads(answer.body)] == [1, 2]
    answer = client.post("/echo", b"1\n[2]\n", "application/x-ndjson")
    assert [each["value"] for each in json.loads(answer.body)] == [1, [2]]


def test_the_rows_of_a_table_are_json_values_too(client: Way) -> None:
    """CSV and Arrow to JsonInput: a dict for each row, as in a batch run."""
    answer = client.post("/echo", b"x,y\n1,a\n2,b\n", "text/csv")
    assert [each["value"] for each in json.loads(answer.body)] == [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]


@pytest.mark.parametrize(
    ("body", "status", "more"),
    [
        (b'"discard"', 422, {"kind": "Discarded", "detail": "not this one"}),
        (b'"error"', 451, {"kind": "InferenceError", "detail": "we are closed"}),
    ],
)
def test_the_api_chooses_the_status_of_its_refusals(
    client: Way, body: bytes, status: int, more: dict[str, Any]
) -> None:
    """task.discard(http_status=…) and InferenceError(http_status=…, http_headers=…)."""
    answer = client.post("/refusing", body)
    found = json.loads(answer.body)
    assert (answer.status, found["status"]) == (status, status)
    assert {name: found[name] for name in more} == more
    assert answer.headers.get("x-why") == ("law" if status == 451 else None)


def test_the_api_chooses_the_status_and_headers_of_a_result(client: Way) -> None:
    """InferenceResult(http_status=201, http_headers=…)."""
    answer = client.post("/refusing", b'"created"')
    assert (answer.status, answer.headers["location"], answer.body) == (201, "/made/1", b'"made"\n')


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("text/plain", "grüße".encode()),
        ("text/plain; charset=ISO-8859-1", "grüße".encode("latin-1")),
        ('text/plain; charset="utf-16"', "grüße".encode("utf-16")),
        multipart(("text", "a.txt", "text/plain; charset=windows-1252", "grüße".encode("cp1252"))),
    ],
)
def test_text_is_read_in_the_charset_that_it_says(client: Way, media: str, body: bytes) -> None:
    """UTF-8 where it says nothing; nothing is guessed (D5)."""
    assert json.loads(client.post("/upper", body, media).body) == "GRÜSSE"


def test_text_in_another_charset_than_it_says_is_400_and_an_unknown_one_415(client: Way) -> None:
    """Not a 500, and not another text."""
    assert client.post("/upper", b"gr\xfc\xdfe", "text/plain").status == 400
    assert client.post("/upper", b"abc", "text/plain; charset=klingon").status == 415
    assert client.post("/upper", b"abc", "text/plain; charset=zip").status == 415  # a codec of Python's that inflates


def test_a_file_is_the_body_or_a_part(client: Way) -> None:
    """The client's name of a file is no path of this machine, so the api does not get it."""
    wanted = {"bytes": 5, "name": None, "path": None}
    assert json.loads(client.post("/size", b"\0\1\2\3\4", "application/octet-stream").body) == wanted
    assert json.loads(client.post("/size", b"hello", "text/plain").body) == wanted
    assert json.loads(client.post("/size", *multipart(("f", "/etc/passwd", None, b"hello"))[::-1]).body) == wanted
    two = client.post("/size", *multipart(("f", "a", None, b"1"), ("g", "b", None, b"2"))[::-1])
    assert (two.status, "2 files" in json.loads(two.body)["detail"]) == (400, True)


def picture(form: str) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(stream, form)
    return stream.getvalue()


def test_an_image_is_the_body_or_a_part_and_a_broken_one_is_400(client: Way) -> None:
    """By its bytes, whatever its name and type say."""
    assert client.post("/picture", picture("PNG"), "image/png").body == b"[3,4,3]\n"
    assert client.post("/picture", picture("JPEG"), "application/octet-stream").body == b"[3,4,3]\n"
    assert (
        client.post("/picture", *multipart(("image", "x.png", "image/png", picture("PNG")))[::-1]).body == b"[3,4,3]\n"
    )
    broken = client.post("/picture", picture("PNG")[:40], "image/png")
    assert (broken.status, json.loads(broken.body)["rows"][0]["stage"]) == (400, "convert")
    assert client.post("/picture", b"{}", "application/json").status == 415


def test_several_files_are_named_parts(client: Way) -> None:
    """One for each input; base64 in JSON as on the command line; what is none of them is told."""
    both = multipart(("right", "r", None, b"R"), ("left", "l", None, b"L"))[::-1]
    assert client.post("/pair", *both).body == b'["L","R"]\n'
    assert client.post("/pair", *multipart(("left", "l", None, b"L"))[::-1]).body == b'["L",null]\n'
    assert client.post("/pair", b'{"left": "TA==", "right": "Ug=="}').body == b'["L","R"]\n'
    for parts in ([("middle", "m", None, b"M")], [("left", "l", None, b"1"), ("left", "l", None, b"2")]):
        assert client.post("/pair", *multipart(*parts)[::-1]).status == 400


def test_tensors_are_instances_as_tensorflow_serving_has_them(client: Way) -> None:
    """One item for each row, of any depth."""
    assert client.post("/tensor", b'{"instances": [[[1, 2], [3, 4]], [[1, 1], [1, 1]]]}').body == b"[10,4]\n"
    assert client.post("/tensor", b'{"inputs": [1]}').status == 400


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_gzip_body_is_inflated(client: Way, pieces: int) -> None:
    """In one member or several."""
    body = b"[[1,2,3],[4,5,6]]"
    cuts = [body[len(body) * at // pieces : len(body) * (at + 1) // pieces] for at in range(pieces)]
    packed = b"".join(gzip.compress(cut) for cut in cuts)
    assert client.post("/predict", packed, Content_Encoding="gzip").body == b"[6.0,15.0]\n"


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", b"no gzip", 400),
        ("gzip", gzip.compress(b"[[1,2,3]]")[:-6], 400),
        ("gzip", gzip.compress(b"") * 1_000, 400),
        ("br", b"x", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"[[1,2,3]]")), 415),
    ],
    ids=["no gzip", "cut off", "many members", "unknown", "twice"],  # a gzip body holds the time at which it was made
)
def test_a_damaged_or_unknown_coding_is_the_clients_fault(client: Way, coding: str, body: bytes, status: int) -> None:
    """D29 of BentoML: there it was a 500 for the whole batch."""
    assert client.post("/predict", body, Content_Encoding=coding).status == status


BAD_MULTIPART = {
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n--x--"),
    "another boundary": ("multipart/form-data; boundary=y", multipart(("a", "a", None, b""))[1]),
    "cut off": ("multipart/form-data; boundary=frontier", multipart(("a", "a", None, b"abc"))[1][:-20]),
    "no name": (
        "multipart/form-data; boundary=f",
        b"--f\r\nContent-Disposition: form-data\r\n\r\nx\r\n--f--\r\n",
    ),
    "no headers": ("multipart/form-data; boundary=f", b"--f\r\nx\r\n--f--\r\n"),
    "empty": ("multipart/form-data; boundary=f", b""),
    "no parts": ("multipart/form-data; boundary=f", b"--f--\r\n"),
}


@pytest.mark.parametrize("name", list(BAD_MULTIPART))
def test_a_malformed_multipart_body_is_400(client: Way, name: str) -> None:
    """For tables, files and named files alike."""
    media, body = BAD_MULTIPART[name]
    for path in ("/predict", "/size", "/pair"):
        assert client.post(path, body, media).status == 400


def test_a_damaged_arrow_stream_is_400(client: Way) -> None:
    """Cut anywhere, or with bytes changed."""
    body = arrow(a=[1.0, 2.0], b=[1.0, 2.0], c=["x", "y"])
    for cut in range(0, len(body) - 8, 97):
        assert client.post("/predict", body[:cut], ARROW).status == 400, cut
    whole = bytearray(body)
    for place in range(0, len(body), 13):
        whole[place] ^= 0xFF
        answer: Answer = client.post("/anything", bytes(whole), ARROW)
        whole[place] ^= 0xFF
        assert answer.status in (200, 400), (place, answer)


def test_csv_without_a_header_must_have_the_width_that_the_api_takes(client: Way) -> None:
    """RFC 4180's parameter header=absent, as SageMaker's clients send it; where no columns are known they are numbers."""
    answer = client.post("/predict", b"1,2\n", "text/csv; header=absent")
    assert (answer.status, "2 fields" in json.loads(answer.body)["detail"]) == (400, True)
    answer = client.post("/anything", b"1,x\n", "text/csv; header=absent")
    assert json.loads(answer.body) == ["2 columns: int64, str"]


def test_csv_that_is_malformed_is_400_with_its_line(client: Way) -> None:
    """Too few fields, an open quote, no UTF-8, a duplicate name, a value that is no number."""
    for body, told in (
        (b"a,b,c\n1,2,3\n1,2\n", "row 1, line 3: expected 3 fields, found 2"),
        (b'a,b,c\n1,"2,3\n', "line 2: a quoted field is not closed"),
        (b"a,b,c\n1,\xff,3\n", "not UTF-8"),
        (b"a,b,a\n1,2,3\n", "'a' twice"),
        (b"a,b,c\n1,oops,3\n", "oops"),
    ):
        answer = client.post("/predict", body, "text/csv; charset=utf-8")
        assert answer.status == 400
        assert told in json.loads(answer.body)["detail"] or b"\xff" in body, answer.body


MIXED = [
    b"a,b,c\n1,2,3\n4,5,6\n",
    b"a,b,c\n1.5,NA,3\n-0.0,1e300,6\n",
    b'a,b,c\n007,"x,y",2026-01-01\n8,"",2026-01-02\n',
    b"a,b,c\ntrue,2026-01-01T00:00:00Z,9223372036854775808\nfalse,,1\n",
]


@pytest.mark.parametrize("text", MIXED)
def test_a_csv_document_is_to_the_server_what_it_is_to_a_batch_run(
    client: Way, served_bundle: str, tmp_path: Path, text: bytes
) -> None:
    """The same file, the same types for the function: what a batch run writes is what the server answers."""
    source, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_bytes(text)
    answer = client.post("/anything", text, "text/csv")
    try:
        bentobatch.run(served_bundle, "anything", input_file=str(source), output_file=str(target))
    except TooManyRejectsError:
        assert answer.status == 400
        return
    expected = [json.loads(line)["prediction"] for line in target.read_text().splitlines()]
    assert json.loads(answer.body) == expected
