"""This module tests tasks and results."""

from __future__ import annotations

from bentobatch.tasks import HTTPHeaders, InferenceError, InferenceResult, InferenceTask


def test_headers_ignore_case_and_give_none_for_a_missing_key() -> None:
    """As in BentoML 0.13: services test ``task.http_headers["x-user"]`` without asking first."""
    headers = HTTPHeaders({"X-User": "ada"})
    assert headers["x-user"] == headers["X-USER"] == headers.get("x-User") == "ada"
    assert headers["missing"] is None
    assert headers.get("missing") is None
    assert "X-user" in headers
    assert "missing" not in headers
    assert 1 not in headers


def test_headers_are_a_mapping() -> None:
    """Length, names and equality of content."""
    headers = HTTPHeaders({"A": "1", "B": "2"})
    assert dict(headers) == {"a": "1", "b": "2"}
    assert len(headers) == 2
    assert not HTTPHeaders()
    assert repr(HTTPHeaders({"A": "1"})) == "HTTPHeaders({'a': '1'})"


def test_a_task_of_a_batch_job_has_empty_headers() -> None:
    """The same api works online and offline."""
    task = InferenceTask(data=1)
    assert task.http_headers["authorization"] is None
    assert not task.is_discarded
    assert task.error is None


def test_discarding_leaves_an_error_with_the_message() -> None:
    """What the rejects file and the HTTP answer tell."""
    task = InferenceTask(data=1)
    task.discard("too short", http_status=400)
    assert task.is_discarded
    assert isinstance(task.error, InferenceError)
    assert (task.error.err_msg, task.error.http_status, task.error.task_id) == ("too short", 400, task.task_id)


def test_a_discard_without_a_word_is_a_server_error() -> None:
    """BentoML 0.13's defaults."""
    task = InferenceTask()
    task.discard()
    assert task.error is not None
    assert (task.error.err_msg, task.error.http_status, task.error.cli_status) == ("", 500, 1)


def test_each_task_has_an_id_of_its_own() -> None:
    """It goes to logs and answers."""
    assert InferenceTask().task_id != InferenceTask().task_id


def test_a_result_is_a_success_and_an_error_is_none() -> None:
    """Their defaults differ in the statuses only; an error is a result."""
    assert (InferenceResult(data=1).http_status, InferenceResult().cli_status) == (200, 0)
    assert isinstance(InferenceError(), InferenceResult)
    assert (InferenceError().http_status, InferenceError().cli_status) == (500, 1)
