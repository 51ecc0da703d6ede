"""This module tests the web pages as a browser without JavaScript gets them."""

from __future__ import annotations

import datetime
import json
import re
from html import unescape
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from bentobatch.repository.local import LocalRepository
from bentobatch.repository.server.pages import PAGE, age_text, shown_json, shown_text, size_text
from tests.repository.making import make_bundle

ORIGIN = {"Origin": "http://localhost"}


@pytest.fixture
def filled(stored: LocalRepository, tmp_path: Path) -> LocalRepository:
    """Three versions of one bundle, and another one."""
    for number in range(3):
        tag = f"Iris:{number}"
        labels = {"stage": "test" if number else "production"}
        stored.push(make_bundle(tmp_path / tag, tag, second=number), labels=labels)
    stored.push(make_bundle(tmp_path / "o", "Churn:7"), labels={"team": "a"})
    return stored


def text(html: str) -> str:
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", html).split()))


def test_an_empty_repository_says_how_to_begin(client: FlaskClient) -> None:
    """And has no table."""
    assert "No bundles yet" in client.get("/").text


def test_the_list_has_each_name_once_with_its_newest_version(client: FlaskClient, filled: LocalRepository) -> None:
    """Names in alphabetical order."""
    html = client.get("/").text
    assert re.findall(r'class="cover" href="([^"]+)"', html) == ["/bundles/Churn", "/bundles/Iris"]
    assert re.findall(r'href="(/bundles/\w+/\w+)"', html) == ["/bundles/Churn/7", "/bundles/Iris/2"]
    assert "3 versions" in html
    assert "predict" in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=iri", ["/bundles/Iris"]),
        ("q=churn:7", ["/bundles/Churn"]),
        ("q=nothing", []),
        ("labels=team", ["/bundles/Churn"]),
        ("labels=stage!%3Dtest", ["/bundles/Churn", "/bundles/Iris"]),
        ("labels=stage+In+(production)&q=i", ["/bundles/Iris"]),
    ],
)
def test_search_and_labels_select(query: str, found: list[str], client: FlaskClient, filled: LocalRepository) -> None:
    """Together; what was asked for stays in the form."""
    html = client.get(f"/?{query}").text
    assert re.findall(r'class="cover" href="([^"]+)"', html) == found
    assert ("Nothing matches" in html) == (found == [])
    assert "Clear" in html


def test_a_selector_that_is_none_is_told_beside_the_form(client: FlaskClient, filled: LocalRepository) -> None:
    """It is no error of the page."""
    for path in ("/", "/bundles/Iris"):
        answer = client.get(path, query_string={"labels": "stage = = x"})
        assert answer.status_code == 200
        assert "label selector" in answer.text
        assert 'aria-invalid="true"' in answer.text


def test_many_names_stand_on_several_pages(client: FlaskClient, stored: LocalRepository, tmp_path: Path) -> None:
    """With links to the next and the one before; a page that is not there is the last one."""
    for number in range(PAGE + 1):
        stored.push(make_bundle(tmp_path / str(number), f"Name{number:03}:1"))
    first, second = client.get("/?q=Name").text, client.get("/?q=Name&page=2").text
    assert 'rel="next" href="/?page=2&amp;q=Name&amp;labels="' in first
    assert 'rel="prev"' not in first
    assert (first.count('class="cover"'), second.count('class="cover"')) == (PAGE, 1)
    assert 'rel="prev"' in second
    assert client.get("/?q=Name&page=99").text == second
    assert client.get("/?page=x").status_code == 200


def test_a_bundles_page_lists_its_versions(client: FlaskClient, filled: LocalRepository) -> None:
    """The newest first, marked; a name that is not there is not found."""
    html = client.get("/bundles/Iris").text
    assert re.findall(r'class="mono" href="/bundles/Iris/(\w)"', html) == ["2", "1", "0"]
    assert html.count(">latest<") == 1
    filtered = client.get("/bundles/Iris?labels=stage%3Dproduction").text
    assert re.findall(r'class="mono" href="/bundles/Iris/(\w)"', filtered) == ["0"]
    assert client.get("/bundles/Nobody").status_code == 404
    assert "no bundle Nobody" in client.get("/bundles/Nobody").text


def test_a_versions_page_has_all_that_is_known(client: FlaskClient, stored: LocalRepository, tmp_path: Path) -> None:
    """Apis with types and examples, artifacts with metadata, environment, labels, size, digest, commands."""
    body = {"content": {"application/json": {"example": [{"sepal": 5.1}]}}}
    docs = {"paths": {"/predict": {"post": {"operationId": "predict", "requestBody": body}}}}
    bundle = make_bundle(tmp_path / "b", docs=json.dumps(docs))
    entry = stored.push(bundle, labels={"stage": "test"})
    shown = text(client.get("/bundles/Iris/1").text)
    for part in (
        f"sha256:{entry.digest}",
        size_text(entry.size),
        "stage test",
        "DataframeInput",
        "DefaultOutput",
        "Predicts.",
        '[{"sepal": 5.1}]',
        "records",
        "PickleArtifact",
        "accuracy 0.9",
        "3.11.7",
        "six",
        "bentobatch config set repository_url=http://localhost",
        "bentobatch run Iris:1 predict --input-file rows.parquet --output-file scored.parquet",
        "bentobatch serve Iris:1",
        "bentobatch retrieve Iris:1 --target-dir ./Iris_1",
        "bentobatch containerize Iris:1",
    ):
        assert part in shown, part
    assert client.get("/bundles/Iris/latest").status_code == 200
    assert client.get("/bundles/Iris/2").status_code == 404


@pytest.mark.parametrize("docs", ["", "[]", "{", '{"paths": 5}', '{"paths": {"/x": {"post": {}}}}', "[" * 100_000])
def test_a_bundle_with_strange_docs_has_no_examples(
    docs: str, client: FlaskClient, stored: LocalRepository, tmp_path: Path
) -> None:
    """They come from a stranger, and its page is there all the same."""
    stored.push(make_bundle(tmp_path / "b", docs=docs))
    answer = client.get("/bundles/Iris/1")
    assert answer.status_code == 200
    assert "Example of its input" not in answer.text


def test_the_commands_that_are_shown_are_commands(client: FlaskClient, filled: LocalRepository) -> None:
    """They exist, and take these words."""
    from bentobatch.cli.main import cli

    lines = re.findall(r"data-copy><code>(bentobatch [^<]+)</code>", client.get("/bundles/Iris/1").text)
    assert len(lines) == 5
    for line in lines:
        name, *words = line.split()[1:]
        with cli.commands[name].make_context(name, words):
            pass


def test_a_deletion_is_asked_for_first(client: FlaskClient, filled: LocalRepository) -> None:
    """By a page with a form; then the page of the other versions comes, or that of all bundles."""
    path = "/bundles/Iris/2/delete"
    assert path in client.get("/bundles/Iris/2").text
    html = client.get(path).text
    assert "Keep it" in html
    assert client.get(path).status_code == 200  # and looking deletes nothing
    key = re.search(r'name="form_key" value="(\w+)"', html)
    assert key
    answer = client.post(path, data={"form_key": key[1]}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/bundles/Iris")
    assert [entry.version for entry in filled.list("Iris")] == ["1", "0"]
    answer = client.post("/bundles/Churn/7/delete", data={"form_key": key[1]}, headers=ORIGIN)
    assert answer.headers["Location"] == "/"
    assert client.post("/bundles/Churn/7/delete", data={"form_key": key[1]}, headers=ORIGIN).status_code == 404
    assert client.get("/bundles/Iris/latest/delete").status_code == 400


def test_sizes_and_ages_are_for_people() -> None:
    """Powers of 1024; the largest unit."""
    assert [size_text(size) for size in (0, 1023, 1024, 5 << 20, 3 << 30, 5 << 40, 9000 << 40)] == [
        "0 B", "1023 B", "1.0 KiB", "5.0 MiB", "3.0 GiB", "5.0 TiB", "9000.0 TiB"]  # fmt: skip
    now = datetime.datetime(2026, 6, 1)
    ages = [age_text(now - datetime.timedelta(seconds=seconds), now) for seconds in (-5, 59, 60, 7200, 90_000, 10**9)]
    assert ages == ["just now", "just now", "1 minute ago", "2 hours ago", "1 day ago", "31 years ago"]


def test_long_values_are_cut_and_nested_ones_told() -> None:
    """A page stays one that can be looked at."""
    assert shown_json([[1, 2], {"a": "b"}]) == '[[1, 2], {"a": "b"}]'
    assert shown_json({"a": ["x" * 40, "y" * 40]}).splitlines()[1] == '  "a": ['
    assert json.loads(shown_json({"a": ["x" * 40, {"y": ["z" * 70]}], "b": []})) == {
        "a": ["x" * 40, {"y": ["z" * 70]}],
        "b": [],
    }
    assert shown_text("x" * 20_001).endswith("… and 1 characters more")
    assert len(shown_json(["x"] * 1_000_000)) < 21_000
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown_json(deep) == "too deeply nested to be shown"
