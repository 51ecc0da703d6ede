"""This module tests the HTTP API: what each route takes, answers and refuses."""

from __future__ import annotations

import gzip
import io
import re
import socket
import tarfile
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import openapi_spec_validator
import pytest
from flask import Flask
from flask.testing import FlaskClient

from bentobatch.bundle.archives import unpack
from bentobatch.bundle.layout import files_below
from bentobatch.bundle.verify import verify_bundle
from bentobatch.repository.check import check
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.server.app import create_app
from bentobatch.repository.server.state import Options
from tests.repository.making import make_bundle
from tests.repository.server.serving import archive_of, served

ONE = "/api/v1/bundles/Iris/1"
GZIP = {"Content-Type": "application/gzip"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "b", labels={"framework": "sklearn"})


def test_a_pushed_archive_becomes_a_bundle_and_comes_back(
    client: FlaskClient, stored: LocalRepository, bundle: Path, tmp_path: Path
) -> None:
    """PUT, GET, and the archive, byte for byte."""
    digest = verify_bundle(bundle).digest
    pushed = client.put(ONE, data=archive_of(bundle), headers={**GZIP, "Bentobatch-Digest": digest})
    assert pushed.status_code == 200, pushed.text
    value = client.get(ONE).get_json()
    assert value == pushed.get_json() == client.get("/api/v1/bundles/Iris/latest").get_json()
    assert (value["digest"], value["size"]) == (digest, 27)
    assert value["bentoServiceMetadata"]["labels"] == {"framework": "sklearn"}
    assert value["uri"] == {"type": "HTTP", "uri": f"http://localhost{ONE}/archive.tar.gz"}  # no path of the server's
    answer = client.get(f"{ONE}/archive.tar.gz")
    assert answer.headers["Content-Type"] == "application/gzip"
    (tmp_path / "x").write_bytes(answer.data)
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "x", tmp_path / "out", kind="tar.gz", where="x")
    assert {path: (tmp_path / "out" / path).read_bytes() for path in files_below(tmp_path / "out")} == {
        path: (bundle / path).read_bytes() for path in files_below(bundle)
    }
    assert list(check(stored, read_data=True)) == []


def test_archives_of_tar_and_of_zip_are_taken(client: FlaskClient, bundle: Path) -> None:
    """What people pack themselves is fine, too."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(bundle, ".")
    assert client.put(ONE, data=packed.getvalue(), headers=GZIP).status_code == 200
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for path in files_below(bundle):
            zipped.write(bundle / path, path)
    assert client.put(ONE, data=packed.getvalue(), content_type="application/zip").status_code == 200


def test_pushing_twice_is_a_no_op_or_a_conflict(client: FlaskClient, bundle: Path, tmp_path: Path) -> None:
    """409, and the first one stays."""
    first = client.put(ONE, data=archive_of(bundle), headers=GZIP).get_json()
    assert client.put(ONE, data=archive_of(bundle), headers=GZIP).get_json() == first
    other = client.put(ONE, data=archive_of(make_bundle(tmp_path / "c", model=b"other")), headers=GZIP)
    assert (other.status_code, other.get_json()["error"]["type"]) == (409, "ConflictError")
    assert client.get(ONE).get_json() == first


def test_labels_come_with_a_push_or_later(client: FlaskClient, bundle: Path) -> None:
    """Those of the header instead of the bundle's own; PATCH sets and removes."""
    headers = {**GZIP, "Bentobatch-Labels": '{"stage": "test"}'}
    pushed = client.put(ONE, data=archive_of(bundle), headers=headers)
    assert pushed.get_json()["bentoServiceMetadata"]["labels"] == {"stage": "test"}
    answer = client.patch(f"{ONE}/labels", json={"set": {"a": "b"}, "unset": ["stage"]})
    assert answer.get_json() == {"labels": {"a": "b"}}
    for body in (
        {"set": {"a b": "c"}},
        {"unset": "a"},
        {"set": []},
        {"other": 1},
        [],
        {"unset": [[]]},
        {"set": {"a": 5}},
    ):
        refused = client.patch(f"{ONE}/labels", json=body)
        assert (refused.status_code, refused.get_json()["error"]["type"]) == (400, "UsageError"), body
    assert client.patch(f"{ONE}/labels", data="{}").status_code == 415
    assert client.patch(f"{ONE}/labels", data="[" * 20_000, content_type="application/json").status_code == 400


def test_a_list_is_filtered_ordered_and_paged(client: FlaskClient, stored: LocalRepository, tmp_path: Path) -> None:
    """As in Python; ``more`` tells whether it goes on."""
    for number in range(3):
        tag = f"Iris:{number}"
        stored.push(make_bundle(tmp_path / tag, tag, second=number), labels={"even": str(number % 2 == 0)})
    stored.push(make_bundle(tmp_path / "o", "Other:1", second=9))

    def tags(**query: object) -> tuple[list[str], bool]:
        value = client.get("/api/v1/bundles", query_string=query).get_json()
        return [f"{one['name']}:{one['version']}" for one in value["bundles"]], value["more"]

    assert tags() == (["Iris:2", "Iris:1", "Iris:0", "Other:1"], False)
    assert tags(name="Iris", ascending="true", limit=2) == (["Iris:0", "Iris:1"], True)
    assert tags(order_by="created_at", offset=1, limit=1) == (["Iris:2"], True)
    assert tags(labels="even=True") == (["Iris:2", "Iris:0"], False)
    assert tags(limit=0) == ([], True)
    bad = ("limit=x", "limit=-1", "limit=1001", "offset=1e9", "order_by=size", "ascending=1", "labels=a%20b", "name=..")
    for query in bad:
        assert client.get(f"/api/v1/bundles?{query}").status_code == 400, query


def test_a_deleted_bundle_is_gone(client: FlaskClient, bundle: Path) -> None:
    """204, then 404; the latest cannot be deleted."""
    client.put(ONE, data=archive_of(bundle), headers=GZIP)
    assert client.delete("/api/v1/bundles/Iris/latest").status_code == 400
    assert client.delete(ONE).status_code == 204
    for answer in (client.delete(ONE), client.get(ONE), client.get(f"{ONE}/archive.tar.gz")):
        assert (answer.status_code, answer.get_json()["error"]["type"]) == (404, "NoInputError")


def damaged(bundle: Path) -> bytes:
    data = bytearray(gzip.decompress(archive_of(bundle)))
    place = data.index(b"a model")
    data[place : place + 7] = b"A MODEL"
    return gzip.compress(bytes(data))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda b: {"data": archive_of(b)[:-20]}, 400),
        (lambda b: {"data": b""}, 400),
        (lambda b: {"data": b"no archive"}, 400),
        (lambda b: {"data": damaged(b)}, 400),
        (lambda b: {"content_type": "application/x-tar"}, 415),
        (lambda b: {"content_type": "application/zip"}, 400),
        (lambda b: {"headers": {"Content-Encoding": "gzip"}}, 415),
        (lambda b: {"headers": {"Bentobatch-Digest": "0" * 64}}, 400),
        (lambda b: {"headers": {"Bentobatch-Digest": "x"}}, 400),
        (lambda b: {"headers": {"Bentobatch-Labels": "[1]"}}, 400),
        (lambda b: {"headers": {"Bentobatch-Labels": '{"a": "no label"}'}}, 400),
        (lambda b: {"path": "/api/v1/bundles/Iris/2"}, 400),
        (lambda b: {"path": "/api/v1/bundles/Iris/latest"}, 400),
    ],
)
def test_what_is_no_sound_bundle_of_the_tag_is_refused(
    change, status: int, client: FlaskClient, stored: LocalRepository, bundle: Path
) -> None:
    """Cut off, changed, of another kind, digest or tag; nothing of it stays."""
    asked = {"path": ONE, "data": archive_of(bundle), "content_type": "application/gzip", **change(bundle)}
    answer = client.put(**asked)
    assert answer.status_code == status, answer.text
    assert answer.get_json()["error"]["message"]
    assert list(stored.list()) == []
    assert not stored.folder.exists() or {path.name for path in stored.folder.iterdir()} <= {".catalog.db"}


def raw(url: str, request: bytes) -> bytes:
    """What the server answers to these bytes."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return answer


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_is_bounded_by_what_it_says_and_by_what_comes(
    chunked: bool, stored: LocalRepository, bundle: Path
) -> None:
    """413 from its length alone, or when so many bytes have come in chunks."""
    size = len(archive_of(bundle))
    with served(create_app(stored, Options(most_bytes=size - 1))) as url:
        host = urlsplit(url).netloc
        head = f"PUT {ONE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/gzip\r\n"
        if chunked:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, archive_of(bundle))
            answer = raw(url, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body)
        else:
            answer = raw(url, f"{head}Content-Length: {size}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 413")
    assert list(stored.list()) == []


def test_small_bodies_are_bounded_too(client: FlaskClient) -> None:
    """Nobody needs a megabyte of labels."""
    big = b'{"set": {"a": "%s"}}' % (b"x" * (1 << 20))
    answer = client.patch(f"{ONE}/labels", data=big, content_type="application/json")
    assert (answer.status_code, answer.get_json()["error"]["type"]) == (413, "UsageError")


def test_a_bundle_that_is_damaged_in_the_storage_is_the_servers_fault(
    client: FlaskClient, stored: LocalRepository, bundle: Path
) -> None:
    """500, by its name; what fails in the middle of an archive leaves it without an end."""
    stored.push(bundle)
    (stored.folder / "Iris" / "1" / "requirements.txt").unlink()
    answer = client.get(f"{ONE}/archive.tar.gz")
    assert (answer.status_code, answer.get_json()["error"]["type"]) == (500, "BundleError")
    assert "requirements.txt" in answer.get_json()["error"]["message"]


def test_health_tells_nothing_of_what_is_wrong(tmp_path: Path) -> None:
    """200, or 503 without the database's name."""
    repository = LocalRepository(tmp_path / "r", db_url="postgresql://user:secret@127.0.0.1:1/none")
    answer = create_app(repository).test_client().get("/healthz")
    assert answer.status_code == 503
    assert answer.get_json()["error"]["message"] == "the catalog does not answer"
    repository.close()
    sound = LocalRepository(tmp_path / "sound")
    assert create_app(sound).test_client().get("/healthz").get_json() == {"status": "ok"}
    sound.close()


def test_counts_are_what_prometheus_reads(url: str, client: FlaskClient, bundle: Path) -> None:
    """By route and status, with no bundle's name among them."""
    size = len(archive_of(bundle))
    client.put(ONE, data=archive_of(bundle), headers=GZIP).close()
    client.get(f"{ONE}/archive.tar.gz").close()
    client.get("/api/v1/bundles/Secret/1").close()
    client.get("/api/v1/nothing").close()
    text = client.get("/metrics").text
    one = "/api/v1/bundles/<name>/<version>"
    assert f'requests_total{{method="PUT",route="{one}",status="200"}} 1' in text
    assert f'requests_total{{method="GET",route="{one}",status="404"}} 1' in text
    assert 'requests_total{method="GET",route="none",status="404"} 1' in text
    assert f'archive_bytes_total{{direction="pushed"}} {size}' in text
    assert f'request_seconds_bucket{{route="{one}",le="+Inf"}} 2' in text
    assert "bentobatch_repository_requests_active 1" in text
    assert "Secret" not in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"\\]*",?)+\})? [0-9.]+', line), line


def test_the_openapi_document_is_valid_and_has_every_route(app: Flask, client: FlaskClient) -> None:
    """The routes of the URL map, method by method, and no others."""
    document = client.get("/api/v1/openapi.json").get_json()
    openapi_spec_validator.validate(document)
    assert document["openapi"].startswith("3.1")
    documented = {
        (path, method.upper()) for path, one in document["paths"].items() for method in one if method != "parameters"
    }
    routes = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if not rule.endpoint.startswith("pages.")
    }
    assert documented == routes


def test_without_the_pages_there_is_the_api_alone(stored: LocalRepository) -> None:
    """--no-ui: their paths are not found, in JSON."""
    client = create_app(stored, Options(ui=False)).test_client()
    for path in ("/", "/sign-in", "/bundles/Iris", "/static/style.css"):
        answer = client.get(path)
        assert (answer.status_code, answer.get_json()["error"]["type"]) == (404, "NoInputError")
    assert client.get("/api/v1").get_json()["rights"] == ["read", "write"]


def test_the_catalogue_that_is_gone_is_an_error_to_try_again(tmp_path: Path) -> None:
    """503, which the client takes for such a one."""
    repository = LocalRepository(tmp_path / "r", db_url="postgresql://user:secret@127.0.0.1:1/none")
    answer = create_app(repository).test_client().get("/api/v1/bundles")
    assert (answer.status_code, answer.get_json()["error"]["type"]) == (503, "UnavailableError")
    assert "secret" not in answer.text
    repository.close()
