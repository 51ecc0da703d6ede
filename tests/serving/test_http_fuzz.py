"""This module sends what nobody would think of: no body and no header makes the server fail, and all ways read it alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving.ways import Way

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("a"),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["a", "b", "c", "columns", "data", "index", "instances", "", "0"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
TABLES = ["/predict", "/anything", "/models/product", "/proba", "/frame", "/tensor"]
VALUES = ["/echo", "/pair", "/upper"]
_SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.mark.parametrize("path", [*TABLES, *VALUES, "/feedback", "/invocations"])
@_SETTINGS
@given(value=JSON, batch=st.booleans())
def test_no_json_makes_the_server_fail(client: Way, path: str, value: Any, batch: bool) -> None:
    """What the api itself raises on is told as such (500, stage model); everything else is the client's doing or fine."""
    headers = {"Bentoml_Is_Batch_Request": "true"} if batch else {}
    answer = client.post(path, json.dumps(value).encode("utf-8", "replace"), **headers)
    acceptable(answer.status, answer.body)


@pytest.mark.parametrize("path", [*TABLES, *VALUES, "/size", "/picture", "/feedback"])
@_SETTINGS
@given(
    body=st.binary(max_size=200) | st.text(alphabet='a,b"c\n\r12.{}[]: \0\t', max_size=60).map(str.encode),
    media=st.sampled_from(
        [
            "application/json",
            "text/csv",
            "text/plain",
            "application/x-ndjson",
            "application/vnd.apache.arrow.stream",
            "application/octet-stream",
            "multipart/form-data; boundary=a",
            "image/png",
        ]
    ),
    coding=st.sampled_from(["", "gzip", "identity"]),
)
def test_no_bytes_make_the_server_fail(client: Way, path: str, body: bytes, media: str, coding: str) -> None:
    """Of any type, under any coding."""
    answer = client.post(path, body, media, **({"Content_Encoding": coding} if coding else {}))
    acceptable(answer.status, answer.body)


@_SETTINGS
@given(
    media=st.text(max_size=40),
    accept=st.text(max_size=40),
    timeout=st.text(max_size=10),
    request_id=st.text(max_size=20),
)
def test_no_header_makes_the_server_fail(client: Way, media: str, accept: str, timeout: str, request_id: str) -> None:
    """Whatever characters a header has that may travel in one."""

    def plain(text: str) -> str:
        return "".join(each for each in text.encode("latin-1", "replace").decode("latin-1") if each.isprintable())

    headers = {"Content-Type": plain(media), "Accept": plain(accept), "X-Request-Timeout": plain(timeout)}
    answer = client.request("POST", "/predict", {**headers, "X-Request-Id": plain(request_id)}, b"[[1, 2, 3]]")
    acceptable(answer.status, answer.body)
    assert answer.headers["x-request-id"].isascii()


def acceptable(status: int, body: bytes) -> None:
    if status == 500:
        found = json.loads(body)
        assert found["kind"] != "InternalError", found
        assert all(row["stage"] == "model" for row in found.get("rows", [])), found
    else:
        assert status in (200, 201, 400, 406, 413, 415, 422, 451), (status, body)
