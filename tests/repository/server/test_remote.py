"""This module tests the client: the verbs over HTTP, and what it does with a server that is not what it should be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from bentobatch.bundle.layout import SIGNATURES, files_below
from bentobatch.bundle.signatures import make_key, sign
from bentobatch.cli.main import main
from bentobatch.errors import (
    BentobatchError,
    BundleError,
    ConflictError,
    NoInputError,
    OutputError,
    PolicyError,
    StorageError,
    UnavailableError,
    UsageError,
)
from bentobatch.repository import remote
from bentobatch.repository.local import LocalRepository, open_repository, resolve
from bentobatch.repository.remote import RemoteRepository, token_for
from bentobatch.repository.server.app import create_app
from bentobatch.repository.server.auth import Tokens
from bentobatch.repository.server.state import Options
from tests.repository.making import make_bundle
from tests.repository.server.serving import READ, WRITE, archive_of, served, token_file


@pytest.fixture
def there(url: str) -> RemoteRepository:
    return RemoteRepository(url)


def content(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in files_below(folder)}


def test_the_verbs_do_over_http_what_they_do_at_home(
    there: RemoteRepository, stored: LocalRepository, tmp_path: Path
) -> None:
    """Push, get, list, find, retrieve, labels, pull, delete."""
    source = make_bundle(tmp_path / "b", labels={"framework": "sklearn"})
    assert list(there.list()) == []
    pushed = there.push(source)
    assert pushed == there.get("Iris:1") == there.get("Iris") == there.list()[0]
    assert pushed.uri == f"{there.where}/api/v1/bundles/Iris/1/archive.tar.gz"
    assert (pushed.digest, pushed.labels) == (stored.get("Iris:1").digest, {"framework": "sklearn"})
    assert content(there.retrieve("Iris:1", tmp_path / "new" / "copy")) == content(source)
    assert os.listdir(tmp_path / "new") == ["copy"]
    assert content(there.find("Iris:latest")) == content(source)
    assert there.set_labels("Iris", {"a": "b"}, unset=["framework"]) == {"a": "b"} == there.labels("Iris:1")
    home = LocalRepository()
    pulled = there.pull("Iris:1", home)
    assert (pulled.labels, pulled.digest) == ({"a": "b"}, pushed.digest)
    there.delete("Iris:1")
    assert list(stored.list()) == []
    with pytest.raises(NoInputError, match="no bundle Iris:1"):
        there.get("Iris:1")
    assert there.push(home.find("Iris:1"), labels={"x": "y"}).labels == {"x": "y"}
    home.close()


def test_a_bundle_of_many_blocks_comes_whole(there: RemoteRepository, tmp_path: Path) -> None:
    """Larger than any buffer on the way."""
    source = make_bundle(tmp_path / "b", model=os.urandom(5 << 20))
    there.push(source)
    assert content(there.retrieve("Iris:1", tmp_path / "copy")) == content(source)


def test_a_long_list_comes_page_by_page(
    there: RemoteRepository, stored: LocalRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, or as much of it as is asked for."""
    monkeypatch.setattr(remote, "_PAGE", 2)
    for number in range(5):
        stored.push(make_bundle(tmp_path / str(number), f"Iris:{number}", second=number), labels={"n": str(number)})
    here = [str(entry.tag) for entry in stored.list()]
    assert [str(entry.tag) for entry in there.list()] == here
    assert [str(entry.tag) for entry in there.list(limit=3, offset=1)] == here[1:4]
    assert [str(entry.tag) for entry in there.list("Iris", labels="n In (1, 3)", ascending=True)] == [
        "Iris:1",
        "Iris:3",
    ]
    assert list(there.list(limit=0)) == []
    for query in ({"limit": -1}, {"labels": "a b c"}, {"order_by": "size"}, {"name": "../x"}):
        with pytest.raises(UsageError):
            there.list(**query)


def test_what_is_there_already_is_not_uploaded_again(
    there: RemoteRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bundle is a no-op, another one a conflict, before a byte of it is sent; a new signature is sent."""
    source = make_bundle(tmp_path / "b")
    first = there.push(source)
    make_key(tmp_path / "key")
    sign(source, tmp_path / "key")
    signed = there.push(source)
    assert len(signed.signatures) == 1
    assert (there.retrieve("Iris:1", tmp_path / "copy") / SIGNATURES).is_file()

    def never(_: object) -> Iterable[bytes]:
        raise AssertionError

    monkeypatch.setattr(remote, "packed", never)
    assert there.push(source) == signed
    assert there.push(make_bundle(tmp_path / "same")).digest == first.digest
    with pytest.raises(ConflictError, match="with other content"):
        there.push(make_bundle(tmp_path / "other", model=b"other"))


def test_retrieve_overwrites_nothing_and_asks_the_policy(
    there: RemoteRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at home."""
    there.push(make_bundle(tmp_path / "b"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        there.retrieve("Iris:1", tmp_path / "empty")
    (tmp_path / "policy.yml").write_text("allow: []\n")
    monkeypatch.setenv("BENTOBATCH_POLICY", str(tmp_path / "policy.yml"))
    with pytest.raises(PolicyError):
        there.retrieve("Iris:1", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_the_settings_name_the_server_and_its_token(
    stored: LocalRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """On the command line: list, push, get, pull, retrieve, delete; a tag is resolved there."""
    options = Options(tokens=Tokens(file=token_file(tmp_path)))
    with served(create_app(stored, options)) as url:
        home = LocalRepository()
        home.push(make_bundle(tmp_path / "b"), labels={"a": "b"})
        home.close()
        assert main(["list", "--repository-url", url]) == 2
        assert "lets nobody in without a token" in capfd.readouterr().err
        monkeypatch.setenv("BENTOBATCH_REPOSITORY_URL", url)
        monkeypatch.setenv("BENTOBATCH_REPOSITORY_TOKEN", READ)
        assert main(["push", "Iris:1"]) == 2
        assert "this token may only read" in capfd.readouterr().err
        monkeypatch.setenv("BENTOBATCH_REPOSITORY_TOKEN", WRITE)
        assert main(["push", "Iris:1"]) == 0
        assert capfd.readouterr().out == f"{url}/api/v1/bundles/Iris/1/archive.tar.gz\n"
        assert main(["get", "Iris:1"]) == 0
        assert json.loads(capfd.readouterr().out)["bentoServiceMetadata"]["labels"] == {"a": "b"}
        assert main(["retrieve", "Iris:1", "--target_dir", str(tmp_path / "copy")]) == 0
        assert main(["label", "set", "Iris:1", "c=d"]) == 0
        assert isinstance(open_repository(), RemoteRepository)
        assert resolve("Iris:latest").parent.name == "bundles"  # the cache
        assert main(["delete", "-y", "Iris:1"]) == 0
        assert main(["get", "Iris:1"]) == 66
        monkeypatch.setenv("BENTOBATCH_REPOSITORY_TOKEN", WRITE[:-1])
        assert main(["list"]) == 2
        assert "does not know this token" in capfd.readouterr().err


def test_the_archive_of_a_server_runs_by_its_pinned_url(there: RemoteRepository, tmp_path: Path) -> None:
    """Its URL is one that any command takes."""
    entry = there.push(make_bundle(tmp_path / "b"))
    assert content(resolve(f"{entry.uri}@sha256:{entry.digest}")) == content(tmp_path / "b")


@pytest.mark.parametrize(
    ("home_url", "sent"),
    [
        (None, True),
        ("/a/folder", True),
        ("https://models.example.org/", True),
        ("http://models.example.org", False),
        ("https://models.example.org:8443", False),
        ("https://other.example.org", False),
    ],
)
def test_the_token_goes_to_the_server_that_it_is_for(home_url: str | None, sent: bool) -> None:
    """The settings' token, where another server is named by --repository-url, stays here."""
    found = token_for("https://models.example.org", home_url=home_url, token="secret")
    assert found == ("secret" if sent else None)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "http://",
        "http://user:secret@host",
        "http://host?token=secret",
        "http://host#secret",
        "http://h\nx",
    ],
)
def test_an_url_that_is_no_servers_is_refused_without_its_secrets(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(UsageError) as caught:
        RemoteRepository(url)
    assert "secret" not in str(caught.value)


Answer = tuple[str, list[tuple[str, str]], bytes]
JSON = ("Content-Type", "application/json")


class Strange:
    """A server that says what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.asked.append(environ)
        status, headers, body = self.answer(environ)
        start(status, headers)
        return [body]


def entry_json(folder: Path, **changed: object) -> bytes:
    home = LocalRepository(folder / "aside")
    value = home.push(make_bundle(folder / "aside-bundle")).to_json()
    home.close()
    return json.dumps({**value, **changed}).encode()


def verbs(there: RemoteRepository, bundle: Path) -> dict[str, Callable[[], object]]:
    return {
        "list": there.list,
        "get": lambda: there.get("Iris:1"),
        "find": lambda: there.find("Iris:1"),
        "push": lambda: there.push(bundle),
        "delete": lambda: there.delete("Iris:1"),
        "labels": lambda: there.set_labels("Iris:1", {"a": "b"}),
    }


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        ("200 OK", b"<html>", BundleError),
        ("200 OK", b"[]", BundleError),
        ("200 OK", b'{"bundles": 5, "labels": 5}', BundleError),
        ("200 OK", b'{"bundles": [{}], "labels": {"a": {}}}', BundleError),
        ("200 OK", b"[" * 100_000, BundleError),
        ("404 Not Found", b"<html>", StorageError),
        ("404 Not Found", b'{"error": {"type": "NoInputError", "message": "gone"}}', NoInputError),
        ("409 Conflict", b'{"error": {"type": "ConflictError", "message": "taken"}}', ConflictError),
        ("403 Forbidden", b'{"error": {"type": "PolicyError", "message": "no"}}', PolicyError),
        ("400 Bad", b'{"error": {"type": "SystemExit", "message": "x\\n\\u001b[2J\\u202ey"}}', UsageError),
        ("500 Oops", b'{"error": 5}', StorageError),
        ("502 Bad Gateway", b"", UnavailableError),
        ("401 Unauthorized", b"", UsageError),
    ],
)
def test_a_strange_answer_is_an_error_of_ours_in_one_line(
    status: str, body: bytes, error: type[BentobatchError], tmp_path: Path
) -> None:
    """Of the class that the server names, where that is one of a few; else by the status."""
    bundle = make_bundle(tmp_path / "b")
    with served(Strange(lambda _: (status, [JSON], body))) as url:
        for name, verb in verbs(RemoteRepository(url, token="t"), bundle).items():
            if name == "delete" and status.startswith("200"):
                continue
            if name == "push" and error is NoInputError:
                continue  # that is how it should be
            with pytest.raises(error) as caught:
                verb()
            assert str(caught.value).isprintable(), name


def test_no_redirect_is_followed_and_the_token_goes_to_nobody_else(tmp_path: Path) -> None:
    """S20: not to another host, and not to the same one either."""
    bundle = make_bundle(tmp_path / "b")
    thief = Strange(lambda _: ("200 OK", [JSON], b"{}"))
    with served(thief) as other:
        for code in ("301 x", "302 x", "303 x", "307 x", "308 x"):
            with served(Strange(lambda _, code=code: (code, [("Location", f"{other}/api/v1")], b""))) as url:
                for verb in verbs(RemoteRepository(url, token="secret"), bundle).values():
                    with pytest.raises(UsageError, match="leads on to"):
                        verb()
    assert thief.asked == []


def test_no_path_is_taken_from_what_the_server_says(tmp_path: Path) -> None:
    """S13: neither from headers nor from names; the archive is one like any other."""
    entry, archive = entry_json(tmp_path), archive_of(tmp_path / "aside-bundle")
    headers = [("Content-Disposition", 'attachment; filename="../../evil"'), ("Content-Location", "/evil")]

    def answer(environ: dict[str, Any]) -> Answer:
        if environ["PATH_INFO"].endswith("archive.tar.gz"):
            return "200 OK", headers, archive
        return "200 OK", [*headers, JSON], entry

    with served(Strange(answer)) as url:
        RemoteRepository(url).retrieve("Iris:1", tmp_path / "in" / "copy")
    assert os.listdir(tmp_path / "in") == ["copy"]
    assert not any("evil" in path.name for path in tmp_path.parent.rglob("*"))


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_an_archive_that_is_cut_off_leaves_nothing(cut: int, tmp_path: Path) -> None:
    """Whether the server says how long it should be or not."""
    entry, archive = entry_json(tmp_path), archive_of(tmp_path / "aside-bundle")

    def answer(environ: dict[str, Any]) -> Answer:
        if environ["PATH_INFO"].endswith("archive.tar.gz"):
            said = [("Content-Length", str(len(archive)))] if cut else []
            return "200 OK", said, archive[:cut]
        return "200 OK", [JSON], entry

    with served(Strange(answer)) as url:
        there = RemoteRepository(url)
        with pytest.raises((BundleError, UnavailableError)):
            there.retrieve("Iris:1", tmp_path / "in" / "copy")
        with pytest.raises((BundleError, UnavailableError)):
            there.find("Iris:1")
        with pytest.raises((BundleError, UnavailableError)):
            there.pull("Iris:1", LocalRepository(tmp_path / "other"))
    assert os.listdir(tmp_path / "in") == []
    assert os.listdir(tmp_path / "home" / "cache" / "bundles") == []
    assert os.listdir(tmp_path / "other") == [".catalog.db"]


@pytest.mark.parametrize(
    "changed", [{"name": "Other"}, {"version": "2"}, {"digest": "0" * 64}, {"digest": "../../x"}, {"size": "many"}]
)
def test_a_server_that_lies_gets_nothing_in(changed: dict[str, object], tmp_path: Path) -> None:
    """Its archive is of another tag or digest than it says, or than was asked for."""
    entry, archive = entry_json(tmp_path, **changed), archive_of(tmp_path / "aside-bundle")

    def answer(environ: dict[str, Any]) -> Answer:
        if environ["PATH_INFO"].endswith("archive.tar.gz"):
            return "200 OK", [], archive
        return "200 OK", [JSON], entry

    with served(Strange(answer)) as url:
        there = RemoteRepository(url)
        for verb in (there.find, lambda tag: there.retrieve(tag, tmp_path / "copy")):
            with pytest.raises(BundleError):
                verb("Iris:1")
    assert not (tmp_path / "copy").exists()


def test_a_server_that_is_not_there_can_be_asked_again(tmp_path: Path) -> None:
    """Exit code 69."""
    with served(Strange(lambda _: ("200 OK", [], b""))) as url:
        pass
    with pytest.raises(UnavailableError, match="does not answer"):
        RemoteRepository(url).list()


def test_an_upload_that_is_too_large_is_told_by_the_client(stored: LocalRepository, tmp_path: Path) -> None:
    """It asks how much is taken: a server that hangs up in mid-upload could not say why."""
    bundle, too_large = make_bundle(tmp_path / "b", model=os.urandom(5 << 20)), "has more than 1,000 bytes"
    with served(create_app(stored, Options(most_bytes=1000))) as url, pytest.raises(UsageError, match=too_large):
        RemoteRepository(url).push(bundle)
    assert list(stored.list()) == []


def test_too_many_labels_for_a_header_are_refused_here(there: RemoteRepository, tmp_path: Path) -> None:
    """Before they are cut."""
    with pytest.raises(UsageError, match="too many labels"):
        there.push(make_bundle(tmp_path / "b"), labels={f"key{number}": "x" * 63 for number in range(200)})
