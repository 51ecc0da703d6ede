"""Tests of what the client makes of predictions, over real servers: `bentobatch serve` and `bentobatch serve-gunicorn`."""

from __future__ import annotations

import io
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from bentobatch.client import Client
from bentobatch.errors import BentobatchError, DataError, ModelError, UnavailableError, UsageError
from tests.client.conftest import MOST_ROWS, TOKEN
from tests.serving.served_service import HELD, gate_of


def frame_of(rows: int) -> pd.DataFrame:
    """A frame with an index of its own."""
    values = np.random.default_rng(0).random((rows, 3)) * 100
    return pd.DataFrame(values, columns=["a", "b", "c"], index=[f"row {number}" for number in range(rows)])


def test_importing_the_client_imports_no_data_library() -> None:
    """Who sends lists and files pays for neither pandas nor pyarrow, before and after."""
    code = """
import sys, bentobatch.client
from bentobatch.client.payloads import payload_of
payload_of([[1.0, 2.0]]).body(0, 0)
print(sorted({"pandas", "pyarrow", "numpy", "flask"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_frame_gives_a_frame_with_the_same_index(client: Client) -> None:
    """Values, their order and the index are the frame's, also where columns are in another order."""
    frame = frame_of(20)
    found = client.predict(frame[["c", "a", "b"]])
    pd.testing.assert_frame_equal(found, pd.DataFrame({"total": frame.a + frame.b + frame.c}))


def test_a_large_frame_is_sent_in_chunks_and_joined_in_order(client: Client, url: str) -> None:
    """More rows than the server takes at once are answered as if they were few: whether the client knows the limit, finds it
    out, or goes by its own limit of bytes."""
    frame = frame_of(4 * MOST_ROWS + 7)
    expected = (frame.a + frame.b + frame.c).rename("total").to_frame()
    pd.testing.assert_frame_equal(client.predict(frame), expected)
    for limits in ({"max_rows": MOST_ROWS}, {"max_body_bytes": 1_000}):
        with Client(url, TOKEN, **limits) as small:
            pd.testing.assert_frame_equal(small.predict(frame), expected)


def test_tables_batches_and_arrays_give_their_own_kind(client: Client) -> None:
    """What came as Arrow comes back as Arrow, an array as an array."""
    table = pa.Table.from_pandas(frame_of(120), preserve_index=False)
    found = client.predict(table)
    assert isinstance(found, pa.Table)
    assert found.column_names == ["total"]
    batch = table.combine_chunks().to_batches()[0]
    answered = client.predict(batch)
    assert isinstance(answered, pa.RecordBatch)
    assert answered.column(0).to_pylist() == found["total"].to_pylist()
    assert client.predict(table.to_reader()).equals(found)  # as from polars: by its __arrow_c_stream__
    rows = frame_of(120).to_numpy()
    shares = client.predict(rows, api="proba")
    np.testing.assert_allclose(shares, rows / rows.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(client.predict(rows.T.copy().T, api="proba"), shares)


def test_no_rows_give_no_rows(client: Client) -> None:
    """An empty frame is a question like another."""
    found = client.predict(frame_of(0))
    assert (len(found), list(found.columns)) == (0, ["total"])
    assert client.predict([]) == []


def test_lists_objects_and_texts_are_sent_as_they_are(client: Client) -> None:
    """JSON of any form, texts, and the api's own route."""
    assert client.predict([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]) == [6.0, 15.0]
    assert client.predict([{"c": 3, "a": 1, "b": 2}]) == [6.0]
    assert client.predict({"columns": ["a", "b", "c"], "data": [[1, 2, 3]]}) == [6.0]
    assert client.predict("hello", api="upper") == "HELLO"
    assert client.predict([{"x": 2}], api="/models/product") == [6]
    found = client.predict({"any": None}, api="echo", headers={"X-Color": "red"})
    assert found == {"value": {"any": None}, "header": "red", "method": "POST"}
    assert client.predict("a,b,c\n1,2,3\n", media_type="text/csv") == [6.0]


def test_files_are_sent_by_their_bytes_paths_and_open_files(client: Client, tmp_path: Path) -> None:
    """Single files, images, several files of a form, and tables in files that say by their names what they are."""
    Image.new("RGB", (3, 2)).save(tmp_path / "image.png")
    (tmp_path / "rows.csv").write_text("a,b,c\n1,2,3\n")
    assert client.predict(b"12345", api="size")["bytes"] == 5
    assert client.predict(io.BytesIO(b"123"), api="size")["bytes"] == 3
    assert client.predict(tmp_path / "image.png", api="picture") == [2, 3, 3]
    assert client.predict(tmp_path / "rows.csv") == [6.0]
    with (tmp_path / "rows.csv").open("rb") as file:
        assert client.predict(file) == [6.0]
    assert client.predict({"left": b"l", "right": tmp_path / "rows.csv"}, api="pair") == ["l", "a,b,c\n1,2,3\n"]
    assert client.predict({"left": b"l", "right": None}, api="pair") == ["l", None]


def test_connections_are_kept_and_shared_by_threads(client: Client) -> None:
    """Threads get their own answers, over no more connections than there are threads."""
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda value: client.predict([[value, 0.0, 0.0]]), map(float, range(40))))
    assert found == [[float(value)] for value in range(40)]
    assert client.predict([[1.0, 1.0, 1.0]]) == [3.0]


ERRORS = [
    ([[1.0, "x", 3.0]], {}, DataError, r"says 400: column 'b', row 0: 'x'"),
    ([[1.0, 2.0]], {}, DataError, "row 0 has 2 values"),
    ([[666.0, 2.0, 3.0]], {}, ModelError, "row 0: ValueError: the model does not like 666"),
    ([[777.0, 2.0, 3.0]], {}, ModelError, "says 500"),
    (
        [[1.0, 2.0, 3.0]],
        {"api": "nothing"},
        UsageError,
        "says 404: there is nothing at this path; the apis are /predict",
    ),
    (b"\x00", {}, UsageError, "says 415"),
    ("error", {"api": "refusing", "media_type": "application/json"}, DataError, "says 400: .*JSON"),
    ('"error"', {"api": "refusing", "media_type": "application/json"}, DataError, "says 451: we are closed"),
    ([[1.0, 2.0, 3.0]] * 60, {}, DataError, "says 413"),
]


@pytest.mark.parametrize(("data", "options", "kind", "words"), ERRORS)
def test_what_the_server_refuses_is_an_error_of_ours(client: Client, data, options, kind, words) -> None:
    """The class is by what went wrong; the message is one line with what the server says and the request's id."""
    with pytest.raises(kind, match=words) as caught:
        client.predict(data, **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "(request " in str(caught.value)


def test_a_bad_row_of_a_large_frame_is_found_by_its_chunk(client: Client) -> None:
    """The server counts the rows of one request; the message says which these are."""
    frame = frame_of(120)
    frame.iloc[70, 0] = 666.0
    with pytest.raises(ModelError, match=r"rows (\d+) to \d+: in these, row (\d+): ValueError") as caught:
        client.predict(frame)
    words = str(caught.value).replace(":", " ").split()
    assert int(words[words.index("rows") + 1]) + int(words[words.index("row") + 1]) == 70


@pytest.mark.parametrize("data", [pd.Series([1.0]), {1, 2}, [object()], pd.DataFrame({"a": [object()]})])
def test_what_cannot_be_sent_is_said_before_anything_is(client: Client, data) -> None:
    """Neither a Series, whose row or column it might be, nor what JSON and Arrow have no form for."""
    with pytest.raises(BentobatchError, match=r"Series|JSON|cannot be sent"):
        client.predict(data)


def test_a_request_that_takes_too_long_is_given_up(url: str) -> None:
    """After the client's time-out; the server goes on with it until it is done, and answers others after that."""
    number = secrets.randbelow(2**31)
    gate = Path(gate_of(number))
    try:
        with Client(url, TOKEN, timeout=0.2) as hasty, pytest.raises(UnavailableError, match=r"in time|deadline"):
            hasty.predict([[HELD, float(number), 0.0]])
    finally:
        gate.touch()
    with Client(url, TOKEN) as patient:
        assert patient.predict([[1.0, 2.0, 3.0]]) == [6.0]
    gate.unlink()


def test_a_wrong_token_is_a_usage_error_that_does_not_show_it(url: str) -> None:
    """Nor does the client's repr."""
    for token in (None, "another-token-0123456789"):
        with Client(url, token) as stranger:
            with pytest.raises(UsageError, match="says 401") as caught:
                stranger.predict([[1.0, 2.0, 3.0]])
            assert str(token) not in str(caught.value) + repr(stranger)
            assert stranger.ready()


def test_the_client_tells_what_is_served(client: Client) -> None:
    """Whether the server is ready, and its metadata."""
    assert client.ready()
    assert client.metadata()["name"] == "ServedService"
    client.close()
    assert client.ready()
