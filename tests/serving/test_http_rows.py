"""This module tests what must hold of a server in whatever way it is run: the rows of the online server's plan."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.serving.served_service import NAN, RAISES, WRONG_LENGTH
from tests.serving.ways import WAYS, Answer, Way, held, until


def rows(*values: list[Any]) -> bytes:
    return json.dumps(list(values)).encode()


def problem(answer: Answer) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer
    assert b"Traceback" not in answer.body
    found = json.loads(answer.body)
    assert found["status"] == answer.status
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def together(calls: list[Callable[[], Answer]]) -> list[Answer]:
    """All at one time, each on a thread of its own."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], Answer]) -> Answer:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(one, calls))


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([1.0, 2.0], "row 0 has 2 values, the model takes 3"),
        ([1.0, "x", 3.0], "column 'b', row 0: 'x' is no double"),
    ],
)
def test_a_bad_row_costs_its_own_request_alone(way: Way, bad: list[Any], told: str) -> None:
    """Row 1: among concurrent good requests, the bad one is 400 with its row and column, and the good ones are answered."""
    for _ in range(6):
        good = [lambda at=at: way.post("/predict", rows([at, 1, 1])) for at in range(23)]
        answers = together([*good, lambda: way.post("/predict", rows(bad))])
        assert [(answer.status, json.loads(answer.body)) for answer in answers[:-1]] == [
            (200, [at + 2.0]) for at in range(23)
        ]
        assert answers[-1].status == 400
        assert told in problem(answers[-1])["detail"]


def test_a_row_that_makes_the_model_raise_costs_its_own_request_alone(way: Way) -> None:
    """Row 2: the api raises for one row only; that request is told so, with the row, and the others are answered."""
    good = [lambda at=at: way.post("/predict", rows([at, 0, 0])) for at in range(15)]
    answers = together([*good, lambda: way.post("/predict", rows([1, 1, 1], [RAISES, 0, 0]))])
    assert [json.loads(answer.body) for answer in answers[:-1]] == [[float(at)] for at in range(15)]
    found = problem(answers[-1])
    assert (found["status"], found["bad_rows"]) == (500, 1)
    assert found["rows"] == [
        {"row": 1, "stage": "model", "error_type": "ValueError", "error": "the model does not like 666"}
    ]


def test_a_result_of_the_wrong_length_is_told_and_the_next_request_is_answered(way: Way) -> None:
    """Row 3: 500 with what the api did, and the batcher lives."""
    answer = way.post("/predict", rows([WRONG_LENGTH, 0, 0]))
    assert answer.status == 500
    assert "returned 2 rows for 1 rows of input" in problem(answer)["detail"]
    assert way.post("/predict", rows([1, 2, 3])).body == b"[6.0]\n"


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "nonsense"]
)
def test_another_content_type_is_415(way: Way, media: str) -> None:
    """Row 5: and the reply says what is taken."""
    answer = way.post("/predict", rows([1, 2, 3]), media)
    assert problem(answer)["status"] == 415
    if "/" in media:
        assert "application/json" in answer.headers["accept-post"]


def test_a_missing_content_type_is_415(way: Way) -> None:
    """Row 5: nothing is guessed."""
    answer = way.request("POST", "/predict", {}, rows([1, 2, 3]))
    assert problem(answer)["status"] == 415


BAD_JSON = {
    "cut off": b'[{"a": 1',
    "no JSON": b"a=1",
    "a bare word": b"[[1, 2, nope]]",
    "a single quote": b"[{'a': 1}]",
    "deep": b"[" * 20_000,
    "deep and closed": b"[" * 20_000 + b"]" * 20_000,
    "a huge integer": b"[[1e400, 1, 1]]",
    "too long an integer": b"[[" + b"9" * 5_000 + b", 1, 1]]",
    "no UTF-8": b'[["\xff", 1, 1]]',
    "UTF-16": "[[1,2,3]]".encode("utf-16"),
    "a number": b"5",
    "a text": b'"abc"',
    "null": b"null",
    "NaN": b"[[NaN, 1, 1]]",
    "Infinity": b"[[Infinity, 1, 1]]",
    "a NUL": b"[[1, 2, 3]]\0",
    "two documents": b"[[1, 2, 3]] [[1, 2, 3]]",
}


@pytest.mark.parametrize("name", list(BAD_JSON))
def test_what_is_no_json_table_is_400(way: Way, name: str) -> None:
    """Row 6 and row 7: malformed JSON is the client's fault, and no traceback is shown."""
    answer = way.post("/predict", BAD_JSON[name])
    assert problem(answer)["status"] == 400


def test_of_duplicate_keys_the_last_counts(way: Way) -> None:
    """Row 6: as in every JSON parser of Python's; documented."""
    assert way.post("/predict", b'[{"a": 1, "a": 2, "b": 0, "c": 0}]').body == b"[2.0]\n"


def test_null_is_nan_and_nan_is_null(way: Way) -> None:
    """Row 7: null is a missing number for the model; NaN and infinities in an answer are null."""
    assert way.post("/predict", b"[[null, 1, 1], [1, 1, 1]]").body == b"[null,3.0]\n"
    assert way.post("/predict", rows([NAN, 1, 1], [1e308, 1e308, 1e308])).body == b"[null,null]\n"


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        ("application/json", b"[]", 200),
        ("text/csv", b"a,b,c\n", 200),
        ("application/json", b"", 400),
        ("text/csv", b"", 400),
        ("text/csv", b"\n\n", 400),
        ("application/x-ndjson", b"\n", 200),
        ("application/vnd.apache.arrow.stream", b"", 400),
        ("application/json", b"[[]]", 400),
        ("application/json", b"{}", 200),
    ],
)
def test_no_rows_are_no_results_and_no_body_is_400(way: Way, media: str, body: bytes, status: int) -> None:
    """Row 8."""
    answer = way.post("/predict", body, media)
    assert answer.status == status, answer
    if status == 200:
        assert answer.body == b"[]\n"
    else:
        problem(answer)


def test_columns_are_matched_by_name(way: Way) -> None:
    """Row 9: in another order they are the same; missing and extra ones are named."""
    assert way.post("/predict", b'[{"c": 30, "a": 1, "b": 2}]').body == b"[33.0]\n"
    assert way.post("/predict", b"c,b,a\n30,2,1\n", "text/csv").body == b"[33.0]\n"
    some = problem(way.post("/predict", b'[{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "z": 3}]'))
    assert (some["status"], "'z'" in some["detail"]) == (400, True)
    missing = problem(way.post("/predict", b'[{"a": 1, "b": 2}]'))
    assert (missing["status"], "'c'" in missing["detail"]) == (400, True)
    extra = problem(way.post("/predict", b'[{"a": 1, "b": 2, "c": 3, "zzz": 4}]'))
    assert (extra["status"], "'zzz'" in extra["detail"]) == (400, True)


def test_a_large_request_is_answered_in_its_order(way: Way) -> None:
    """Row 10: of more rows than one call may have."""
    answer = way.post("/predict", rows(*([at, 0.25, 0.25] for at in range(1_000, 6_000))))
    assert json.loads(answer.body) == [at + 0.5 for at in range(1_000, 6_000)]


def test_a_request_that_waits_past_its_deadline_is_not_scored(way: Way) -> None:
    """Row 12: 504, without the api; or 503 where that could be foreseen."""
    before = way.metrics()
    with held(way) as let_go, ThreadPoolExecutor(1) as thread:
        late = thread.submit(way.post, "/predict", rows([1, 2, 3]), X_Request_Timeout="0.2")
        until(lambda: late.done() or way.metrics()['queue_rows{api="predict"}'])
        time.sleep(0.3)
        assert let_go().status == 200
        assert problem(late.result())["status"] in (503, 504)
    after = way.metrics()
    assert after['batch_rows_sum{api="predict"}'] - before['batch_rows_sum{api="predict"}'] == 1
    assert way.post("/predict", rows([1, 2, 3])).status == 200


def test_the_request_id_is_kept_or_made_and_stands_in_errors(way: Way) -> None:
    """Row 19: a harmless one is kept; any other is replaced."""
    assert way.post("/predict", rows([1, 2, 3]), X_Request_Id="mine-1.2").headers["x-request-id"] == "mine-1.2"
    assert problem(way.post("/predict", b"[", X_Request_Id="mine-2"))["request_id"] == "mine-2"
    assert problem(way.request("GET", "/nothing", {"X-Request-Id": "mine-3"}, b""))["request_id"] == "mine-3"
    for odd in ("", "a b", "x" * 200, "<script>"):
        made = way.post("/predict", rows([1, 2, 3]), X_Request_Id=odd).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_the_log_names_the_request_that_failed(client: Way, caplog: pytest.LogCaptureFixture) -> None:
    """Row 19: whatever made it fail is found by its id, in one line; a path cannot make two lines of it."""
    client.post("/predict", rows([RAISES, 0, 0]), X_Request_Id="raised-1")
    client.post("/predict", rows([WRONG_LENGTH, 0, 0]), X_Request_Id="length-1")
    told = [record.getMessage() for record in caplog.records if record.name == "bentobatch.serving"]
    assert any("raised-1" in line and "does not like 666" in line for line in told)
    assert any("length-1" in line and "2 rows for 1 rows" in line for line in told)
    with caplog.at_level("INFO", logger="bentobatch.serving.access"):
        client.get("/a%0Ab")
        client.post("/predict", rows([1, 2, 3]), X_Request_Id="fine-1")
    lines = [record.getMessage() for record in caplog.records if record.name == "bentobatch.serving.access"]
    assert not any("\n" in line for line in lines)
    assert any(line.startswith("fine-1 POST /predict 200 ") for line in lines)


def test_the_metrics_add_up_to_the_requests_that_were_sent(way: Way) -> None:
    """Row 20: requests by status, rows and requests of batches, waiting and predict times, sheds, what is in flight."""
    before = way.metrics()
    for _ in range(5):
        way.post("/product", rows([1.0]))
        way.post("/models/product", rows([1.0], [2.0]))
    way.post("/models/product", b"[")
    after = way.metrics()

    def more(name: str) -> float:
        return after.get(name, 0.0) - before.get(name, 0.0)

    assert more('requests_total{api="product",status="200"}') == 5
    assert more('requests_total{api="product",status="400"}') == 1
    assert more('requests_total{api="",status="404"}') == 5
    assert more('request_seconds_count{api="product"}') == 6
    assert more('batch_rows_sum{api="product"}') == 10
    assert more('batch_requests_sum{api="product"}') == 5
    assert more('queue_seconds_count{api="product"}') == 5
    assert more('predict_seconds_count{api="product"}') == more('batch_rows_count{api="product"}') == 5
    for name in ('shed_total{api="product",reason="full"}', 'in_flight{api="product"}', 'queue_rows{api="product"}'):
        assert after[name] == 0


def test_the_openapi_document_is_valid_and_tells_the_columns(way: Way) -> None:
    """Row 21: under both of its names."""
    from openapi_spec_validator import validate

    document = json.loads(way.get("/openapi.json").body)
    assert json.loads(way.get("/docs.json").body) == document
    validate(document)
    assert document["openapi"].startswith("3.1")
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert body["application/json"]["example"] == [[1.0, 2.0, 3.0]]
    assert body["application/json"]["schema"]["anyOf"][0]["items"]["required"] == ["a", "b", "c"]
    assert {"text/csv", "application/vnd.apache.arrow.stream", "multipart/form-data"} <= set(body)
    answer = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"type": "array", "items": {"type": ["number", "null"]}}


def test_answers_are_the_models_row_by_row_under_load(way: Way) -> None:
    """Row 24: 32 threads, requests of one to three rows, two apis at a time."""

    def one(number: int) -> None:
        height = number % 3 + 1
        if number % 2:
            given = [[float(number), float(row), 0.5] for row in range(height)]
            assert json.loads(way.post("/predict", rows(*given)).body) == [sum(each) for each in given]
        else:
            given = [[number * 10 + row] for row in range(height)]
            assert json.loads(way.post("/models/product", rows(*given)).body) == [each[0] * 3 for each in given]

    with ThreadPoolExecutor(32) as threads:
        list(threads.map(one, range(300)))


def test_health_answers_while_the_model_is_at_work(way: Way) -> None:
    """Row 14: liveness, readiness and metrics do not wait for the model."""
    with held(way) as let_go:
        for path in ("/livez", "/healthz", "/readyz", "/ping", "/metrics"):
            assert way.get(path).status == 200
        assert let_go().status == 200


def test_methods_and_paths_that_are_not_there_are_told_as_problems(way: Way) -> None:
    """Row 18: 404, 405 with Allow, OPTIONS, HEAD."""
    assert problem(way.get("/nothing"))["status"] == 404
    for method, path, allow in (("GET", "/predict", "OPTIONS, POST"), ("PUT", "/healthz", "GET, HEAD, OPTIONS")):
        answer = way.request(method, path, {}, b"")
        assert (problem(answer)["status"], answer.headers["allow"]) == (405, allow)
    options = way.request("OPTIONS", "/predict", {}, b"")
    assert (options.status, options.headers["allow"], options.body) == (204, "OPTIONS, POST", b"")
    head = way.request("HEAD", "/healthz", {}, b"")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "16")


ALIKE: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "rows": ("POST", "/predict", {"Content-Type": "application/json"}, b"[[1.5, 2, 3], [4, 5, 6]]"),
    "records": ("POST", "/predict", {"Content-Type": "application/json"}, b'[{"a": 1, "b": 2, "c": 3}]'),
    "csv in and out": ("POST", "/predict", {"Content-Type": "text/csv", "Accept": "text/csv"}, b"a,b,c\n1,2,3\n"),
    "a matrix": ("POST", "/proba", {"Content-Type": "application/json"}, b"[[1, 2, 1]]"),
    "a frame": ("POST", "/frame", {"Content-Type": "application/json"}, b"[[1, 2, 1]]"),
    "one value": ("POST", "/echo", {"Content-Type": "application/json", "X-Color": "red"}, b'{"k": [1, null]}'),
    "text": ("POST", "/upper", {"Content-Type": "text/plain; charset=latin-1"}, b"gr\xfc\xdfe"),
    "a file": ("POST", "/size", {"Content-Type": "application/octet-stream"}, b"\0" * 100),
    "a refusal": ("POST", "/refusing", {"Content-Type": "application/json"}, b'"error"'),
    "a created": ("POST", "/refusing", {"Content-Type": "application/json"}, b'"created"'),
    "a bad row": ("POST", "/predict", {"Content-Type": "application/json"}, b'[["x", 1, 2]]'),
    "a raise": ("POST", "/predict", {"Content-Type": "application/json"}, rows([RAISES, 0, 0])),
    "a wrong type": ("POST", "/predict", {"Content-Type": "text/plain"}, b"x"),
    "a wrong method": ("GET", "/predict", {}, b""),
    "nothing there": ("GET", "/nothing", {}, b""),
    "options": ("OPTIONS", "/predict", {}, b""),
    "health": ("GET", "/livez", {}, b""),
    "metadata": ("GET", "/metadata", {}, b""),
    "the page": ("GET", "/", {}, b""),
    "sagemaker": ("POST", "/invocations", {"Content-Type": "text/csv"}, b"a,b,c\n1,2,3\n"),
}
_OF_THE_SERVER = frozenset({"date", "server", "connection", "keep-alive", "transfer-encoding"})


@pytest.mark.parametrize("name", list(ALIKE))
def test_all_ways_answer_alike_byte_for_byte(way: Way, alike: Way, name: str) -> None:
    """Row 26: and so does a server that joins no requests."""
    method, path, headers, body = ALIKE[name]
    told = [each.request(method, path, {**headers, "X-Request-Id": "same"}, body) for each in (way, alike)]
    plain = [
        (
            answer.status,
            {name: text for name, text in answer.headers.items() if name not in _OF_THE_SERVER},
            answer.body,
        )
        for answer in told
    ]
    assert plain[0] == plain[1]


@pytest.fixture(scope="module")
def alike(served_bundle: str) -> Any:
    """What all ways are compared with: Flask's client, with micro-batching turned off."""
    with WAYS["client"](served_bundle, {"max_batch_size": 1}) as opened:
        yield opened
