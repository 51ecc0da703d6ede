"""This module attacks the online server from the web: tokens, foreign pages, markup, paths, the debugger."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import bentobatch
from bentobatch.adapters import DataframeInput, JsonInput
from bentobatch.errors import UsageError
from bentobatch.service.core import ServiceCore
from bentobatch.serving import create_app
from bentobatch.serving.app import PUBLIC

TOKEN = "0123456789abcdef-and-more"
XSS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "</pre><iframe src=javascript:alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "<a href='javascript:alert(1)'>x</a>",
    "</title><script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u2028</script>",
    "<!--<script>",
    "]]><script>alert(1)</script>",
]


def service_saying(text: str) -> ServiceCore:
    """A service that says ``text`` wherever it may."""

    def predict(self: Any, df: Any) -> Any:
        raise ValueError(text)

    def value(self: Any, given: Any) -> Any:
        return {text: text}

    predict.__doc__ = text
    members = {
        "predict": bentobatch.api(
            input=DataframeInput(columns=[text, "b"], http_input_example=[{text: text}]), batch=True, api_doc=text
        )(predict),
        "value": bentobatch.api(input=JsonInput(http_input_example={text: text}), api_doc=text)(value),
        "__doc__": text,
    }
    return type("Service", (ServiceCore,), members)()


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def elements(page: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = _Elements()
    parser.feed(page)
    return parser.found


@pytest.mark.parametrize("text", XSS)
def test_what_a_service_says_is_text_on_its_page(text: str) -> None:
    """S26: docstrings, columns and examples make no element and no attribute, and the page's policy is strict."""
    answer = create_app(service_saying(text)).test_client().get("/")
    plain = create_app(service_saying("plain")).test_client().get("/")
    assert elements(answer.text) == elements(plain.text)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "49" not in answer.text.replace(text, "")


@pytest.mark.parametrize("text", XSS)
def test_errors_and_answers_are_json_with_its_type_and_are_not_stored(text: str) -> None:
    """S26: text that comes back, of the service or of the client, is never sent as HTML; there is no cookie."""
    client = create_app(service_saying(text)).test_client()
    answers = [
        client.post("/predict", data=json.dumps([{text: 1, "b": 2}]), content_type="application/json"),
        client.post("/predict", data=json.dumps([{text + "x": 1}]), content_type="application/json"),
        client.post("/value", data=json.dumps(text), content_type="application/json"),
        client.post("/value", data=b"1", content_type=text.encode("ascii", "replace").decode()),
        client.get("/" + text),
        client.get("/nothing", headers={"X-Request-Id": text.encode("ascii", "replace").decode()}),
    ]
    for answer in answers:
        assert answer.content_type in ("application/json", "application/problem+json")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in answer.headers
        json.loads(answer.data)


@pytest.fixture(scope="module")
def guarded() -> Any:
    """A server with a token."""
    return create_app(service_saying("plain"), token=TOKEN)


def test_every_route_and_method_asks_for_the_token(guarded: Any) -> None:
    """S21: by the map of routes itself; the health alone is public."""
    client = guarded.test_client()
    asked = [
        (str(rule), method)
        for rule in guarded.url_map.iter_rules()
        for method in rule.methods or ()
        if rule.endpoint not in PUBLIC
    ]
    asked += [("/predict", "POST"), ("/value", "POST"), ("/invocations", "POST"), ("/nothing", "GET"), ("/", "DELETE")]
    assert len(asked) > 15
    for path, method in asked:
        if method == "OPTIONS":
            continue
        concrete = path.replace("<any('icon.svg', 'page.js', 'style.css'):name>", "page.js")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Authorization": "Bearer "}):
            answer = client.open(concrete, method=method, headers=headers)
            assert answer.status_code == 401, (path, method, headers)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert TOKEN.encode() not in answer.data
        assert client.open(concrete, method=method, headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 401
    for name in ("/healthz", "/livez", "/readyz", "/ping"):
        assert client.get(name).status_code == 200


def test_a_browser_sends_the_token_as_a_password(guarded: Any) -> None:
    """So that the page can be used; another site's page cannot make use of what the browser remembers."""
    client = guarded.test_client()
    known = {"auth": ("anybody", TOKEN)}
    assert client.get("/", **known).status_code == 200
    send = {"data": b"1", "content_type": "application/json", **known}
    assert client.post("/value", headers={"Origin": "http://localhost"}, **send).status_code == 200
    assert client.post("/value", headers={"Origin": "http://evil.example"}, **send).status_code == 403
    for wrong in (("anybody", ""), ("anybody", "wrong"), (TOKEN, "")):
        assert client.get("/", auth=wrong).status_code == 401
    assert client.get("/", headers={"Authorization": "Basic ???"}).status_code == 401


@pytest.mark.parametrize("token", ["", "short", "0123456789 abcdef", "0123456789abcdé0", "x" * 15])
def test_a_worthless_token_is_refused(token: str) -> None:
    """S23: and the message does not show it."""
    with pytest.raises(UsageError) as caught:
        create_app(service_saying("plain"), token=token)
    assert not token or token not in str(caught.value)


def test_a_page_of_another_site_cannot_call_a_local_server() -> None:
    """S22: a foreign Host (DNS rebinding) or Origin is 403; the machine's own names are let in."""
    client = create_app(service_saying("plain"), local=True).test_client()
    good = {"Host": "localhost:5000"}
    send = {"data": b"1", "content_type": "application/json"}
    assert client.post("/value", headers=good, **send).status_code == 200
    assert client.post("/value", headers={"Host": "127.0.0.1"}, **send).status_code == 200
    assert client.post("/value", headers={"Host": "[::1]:80"}, **send).status_code == 200
    assert client.post("/value", headers={**good, "Origin": "http://localhost:5000"}, **send).status_code == 200
    for headers in ({"Host": "evil.example"}, {**good, "Origin": "http://evil.example"}, {**good, "Origin": "null"}):
        assert client.post("/value", headers=headers, **send).status_code == 403
    assert client.get("/metadata", headers={"Host": "evil.example"}).status_code == 403
    assert client.get("/healthz", headers={"Host": "10.0.0.7"}).status_code == 200


def test_other_sites_pages_may_call_only_where_the_options_say_so() -> None:
    """CORS: nothing by default; with an origin, that one alone, also for the request that asks beforehand."""
    plain = create_app(service_saying("plain")).test_client()
    origin = "https://app.example.org"
    ask = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert "Access-Control-Allow-Origin" not in plain.options("/value", headers=ask).headers
    client = create_app(service_saying("plain"), cors_origins=(origin,)).test_client()
    asked = client.options("/value", headers=ask)
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (204, origin)
    answer = client.post("/value", data=b"1", content_type="application/json", headers={"Origin": origin})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, origin)
    assert answer.headers["Vary"] == "Origin"
    other = {"Origin": "https://evil.example"}
    assert client.post("/value", data=b"1", content_type="application/json", headers=other).status_code == 403
    assert "Access-Control-Allow-Origin" not in client.options("/value", headers={**ask, **other}).headers


def test_there_is_no_debugger_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """S27."""
    for name in ("FLASK_DEBUG", "WERKZEUG_DEBUG_PIN", "PYTHONDEVMODE"):
        monkeypatch.setenv(name, "1")
    app = create_app(service_saying("plain"))
    assert not app.debug
    client = app.test_client()
    assert client.get("/console").status_code == 404
    assert client.get("/?__debugger__=yes&cmd=resource&f=debugger.js").text == client.get("/").text
    failed = client.post("/predict", data=json.dumps([{"plain": 1, "b": 2}]), content_type="application/json")
    assert failed.status_code == 500
    assert b"Traceback" not in failed.data


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service with pages of its own, beside a secret."""
    root = tmp_path_factory.mktemp("pages")
    (root / "secret.txt").write_text("secret")
    web = root / "web"
    (web / "sub").mkdir(parents=True)
    (web / "index.html").write_text("<h1>own</h1>")
    (web / "app.js").write_text("1")
    (web / ".hidden").write_text("hidden")
    (web / "sub" / "index.html").write_text("<h1>sub</h1>")
    os.symlink(root / "secret.txt", web / "link.txt")
    os.symlink(root, web / "up")
    service = service_saying("plain")
    vars(service)["_web_static_content"] = str(web)
    return create_app(service).test_client()


def test_a_service_may_bring_its_own_pages(pages: Any) -> None:
    """web_static_content: at / and below; ours are at /docs then; apis stay what they are."""

    def get(path: str) -> Any:
        return pages.get(path, buffered=True)  # the client closes files then

    assert get("/").text == "<h1>own</h1>"
    assert get("/").content_type == "text/html; charset=utf-8"
    assert get("/app.js").content_type.startswith("text/javascript")
    assert get("/sub").text == get("/sub/").text == "<h1>sub</h1>"
    assert pages.post("/app.js").status_code == 405
    assert "POST /predict" in get("/docs").text
    assert get("/nothing").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "sub/../../secret.txt",
        "%2e%2e/secret.txt",
        "..%2fsecret.txt",
        "%252e%252e/secret.txt",
        "..\\secret.txt",
        "%5c..%5csecret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "link.txt",
        "up/secret.txt",
        ".hidden",
        "app.js%00.txt",
        "app.js%00",
        "C:/secret.txt",
        "CON",
        "..;/secret.txt",
        "%c0%ae%c0%ae/secret.txt",
        "a" * 5_000,
        "a/" * 3_000,
    ],
)
def test_no_file_beside_the_pages_is_shown(pages: Any, path: str) -> None:
    """S12 for pages: by no spelling of a path, and by no link."""
    answer = pages.get("/" + path)
    assert answer.status_code in (400, 404), path
    assert b"secret" not in answer.data.replace(path.encode(), b"").replace(b"secret.txt", b"")
    assert b"root:" not in answer.data


def test_nothing_of_the_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S20: variables in a request are text."""
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "hunter2")
    client = create_app(service_saying("plain")).test_client()
    answer = client.post("/value", data=b'"${SECRET_OF_THE_SERVER}"', content_type="application/json")
    assert b"hunter2" not in answer.data
    for path in ("/metadata", "/metrics", "/docs.json", "/"):
        assert b"hunter2" not in client.get(path).data
