"""This module tests ``bentobatch serve`` and the development server: how they start, whom they let in, how they stop."""

from __future__ import annotations

import http.client
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import bentobatch
from bentobatch.bundle.manifest import read_manifest
from bentobatch.cli.main import main
from bentobatch.errors import PolicyError, UnavailableError, UsageError
from bentobatch.serving import create_app
from bentobatch.serving.counts import Counts
from bentobatch.serving.exchange import ServedService
from bentobatch.serving.options import ServingOptions
from bentobatch.serving.site import Site
from tests.legacy.layout import write_bundle
from tests.serving.ways import HERE, held, http_request, process_way, serve_way, until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, and none of the variables that the command reads."""
    for name in list(os.environ):
        if name.startswith(("BENTOBATCH_", "AIP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--host", "0.0.0.0"], "lets others in: set BENTOBATCH_TOKEN (or --token), or say --no-auth"),
        (["--host", "192.0.2.1"], "lets others in"),
        (["--host", "::"], "lets others in"),
        (["--token", "short"], "the token must have 16 or more"),
        (["--token", "x" * 20, "--no-auth"], "contradict each other"),
        (["--cors-origin", "example.org"], "is no origin"),
    ],
)
def test_a_server_that_would_let_anybody_in_does_not_start(
    served_bundle: str, capfd: Any, arguments: list[str], told: str
) -> None:
    """S21 and S23: exit 2, in one line, and nothing of the bundle has run."""
    assert main(["serve", served_bundle, "--port", "0", *arguments]) == 2
    assert told in capfd.readouterr().err


def test_a_port_that_is_taken_is_told_in_one_line(served_bundle: str, capfd: Any) -> None:
    """Exit 69, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["serve", served_bundle, "--port", str(port)]) == 69
    assert f"cannot listen on 127.0.0.1:{port}" in capfd.readouterr().err


def test_no_bundle_is_exit_66_and_a_changed_one_65(tmp_path: Path, served_bundle: str, capfd: Any) -> None:
    """As for run."""
    import shutil

    assert main(["serve", str(tmp_path / "nothing")]) == 66
    changed = shutil.copytree(served_bundle, tmp_path / "changed")
    with (changed / "ServedService" / "served_service.py").open("a") as stream:
        stream.write("\n")
    assert main(["serve", str(changed), "--port", "0"]) == 65
    assert "changed" in capfd.readouterr().err


def test_the_policy_of_the_machine_holds_for_serve(tmp_path: Path, served_bundle: str, monkeypatch: Any) -> None:
    """The command line and the Python API alike."""
    policy = tmp_path / "policy.yml"
    policy.write_text("allow:\n  - name: Nobody\n")
    monkeypatch.setenv("BENTOBATCH_POLICY", str(policy))
    assert main(["serve", served_bundle, "--port", "0"]) == 65
    with pytest.raises(PolicyError):
        create_app(served_bundle)
    policy.write_text(f"allow:\n  - digest: sha256:{read_manifest(Path(served_bundle)).digest}\n")
    assert create_app(served_bundle).test_client().get("/readyz").status_code == 200


def test_serve_no_pickle_refuses_a_pickled_model(served_bundle: str, capfd: Any) -> None:
    """S05."""
    assert main(["serve", served_bundle, "--port", "0", "--no-pickle"]) == 65
    assert "pickle" in capfd.readouterr().err


def test_sigterm_lets_the_requests_under_way_end(served_bundle: str) -> None:
    """Row 16, for the development server: what was accepted is answered, who comes later is refused, exit 0."""

    def refuses() -> bool:
        try:
            return http_request(way.port, "GET", "/healthz", {}, b"").status == 0
        except OSError:
            return True

    with serve_way(served_bundle, {}) as way, held(way) as let_go:
        os.kill(way.process, signal.SIGTERM)
        until(refuses)
        assert let_go().status == 200


def test_a_token_and_a_tag_and_the_variables(home: Path, monkeypatch: Any) -> None:
    """serve NAME:latest with BENTOBATCH_TOKEN, BENTOBATCH_PORT and the variables of Vertex AI."""
    service = served_service()
    service.save(version="v1")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    token = "a-token-of-decent-length"
    environment = {
        "BENTOBATCH_HOME": str(home),
        "BENTOBATCH_TOKEN": token,
        "BENTOBATCH_PORT": str(port),
        "AIP_PREDICT_ROUTE": "/v1/predict",
        "AIP_HEALTH_ROUTE": "/v1/health",
    }
    command = ["env", *(f"{name}={text}" for name, text in environment.items())]
    command += [sys.executable, "-m", "bentobatch", "serve", "ServedService:latest", "--access-log"]
    with process_way("serve", command, r"serving ServedService:latest at http://127\.0\.0\.1:(\d+)") as way:
        assert way.port == port
        assert way.get("/v1/health").status == 200
        assert way.post("/predict", b"[[1,2,3]]").status == 401
        bearer = {"Authorization": f"Bearer {token}", "X_Request_Id": "mine"}
        answer = way.post("/v1/predict", b'{"instances": [[1,2,3],[4,5,6]]}', **bearer)
        assert json.loads(answer.body) == {"predictions": [6.0, 15.0]}
        assert way.post("/v1/predict", b'{"rows": []}', **bearer).status == 400
    told = "".join(way.output)
    assert "mine POST /v1/predict 200" in told
    assert token not in told


def served_service() -> Any:
    """A packed ServedService."""
    sys.path.insert(0, str(HERE))
    try:
        service = importlib.import_module("served_service").ServedService()
    finally:
        sys.path.remove(str(HERE))
    return service.pack("factor", 3)


def test_a_service_serves_itself_from_a_child_process() -> None:
    """start_dev_server: as it is packed now; a second one is refused; stop_dev_server ends it."""
    service = served_service()
    url = service.start_dev_server(port=0)
    try:
        request = urllib.request.Request(
            f"{url}/models/product", data=b"[[7]]", headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.read() == b"[21]\n"
        with pytest.raises(UsageError, match="runs already"):
            service.start_dev_server(port=0)
    finally:
        service.stop_dev_server()
    with pytest.raises(OSError, match="refused"):
        http_request(int(url.rsplit(":", 1)[1]), "GET", "/healthz", {}, b"")
    service.stop_dev_server()  # nothing is there any more


def test_a_child_that_does_not_start_says_why(served_bundle: str) -> None:
    """The port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UnavailableError, match="cannot listen"):
        bentobatch.load(served_bundle).start_dev_server(port=other.getsockname()[1])


def test_a_bundle_of_bentoml_0_13_is_served(tmp_path: Path) -> None:
    """An old bundle, as it is."""
    client = create_app(str(write_bundle(tmp_path / "old"))).test_client()
    answer = client.post("/predict", data=b'[{"x": 1.5}]', content_type="application/json")
    assert answer.status_code == 200, answer.data
    assert client.get("/metadata").json["name"] == "Doubler"
    assert "POST /predict" in client.get("/").text


RAISING = """
import bentoml
from bentoml.adapters import DataframeInput, JsonInput
from bentoml.exceptions import BadInput, NotFound
from bentoml.service.artifacts.common import PickleArtifact


@bentoml.artifacts([PickleArtifact('model')])
class Doubler(bentoml.BentoService):
    @bentoml.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        if (df["x"] < 0).any():
            raise BadInput("x is below 0")
        return df["x"]

    @bentoml.api(input=JsonInput(), batch=False)
    def find(self, value):
        raise NotFound("no such bird")
"""


def test_exceptions_of_bentoml_have_their_status(tmp_path: Path) -> None:
    """Raised for one row of a batch or for a single value; the rows beside it are answered."""
    client = create_app(str(write_bundle(tmp_path / "old", RAISING))).test_client()
    sent = {"content_type": "application/json"}
    refused = client.post("/predict", data=b'[{"x": 1}, {"x": -1}]', **sent)
    assert (refused.status_code, refused.json["kind"], refused.json["rows"][0]["row"]) == (400, "BadInput", 1)
    assert client.post("/predict", data=b'[{"x": 1}]', **sent).data == b"[1]\n"
    missing = client.post("/find", data=b"1", **sent)
    assert (missing.status_code, missing.json["detail"]) == (404, "no such bird")


def test_a_server_that_loads_is_alive_and_not_ready(served_bundle: str) -> None:
    """Row 15: 503 before the load, 200 after it, 503 while draining; liveness is 200 all along."""
    go = threading.Event()
    options = ServingOptions()

    def slowly() -> ServedService:
        assert go.wait(30)
        return ServedService(bentobatch.load(served_bundle), options)

    site = Site(slowly, options, in_background=True)
    client = create_app(site).test_client()

    def states() -> list[int]:
        return [client.get(path).status_code for path in ("/livez", "/healthz", "/readyz", "/ping")]

    assert states() == [200, 200, 503, 503]
    early = client.post("/predict", data=b"[[1,2,3]]", content_type="application/json")
    assert (early.status_code, early.headers["Retry-After"]) == (503, "1")
    assert client.get("/metrics").status_code == 503
    go.set()
    while not site.is_loaded:
        time.sleep(0.01)
    assert states() == [200, 200, 200, 200]
    site.drain()
    assert states() == [200, 200, 503, 503]
    assert client.post("/predict", data=b"[[1,2,3]]", content_type="application/json").data == b"[6.0]\n"


def test_a_bundle_that_cannot_be_loaded_is_never_ready(caplog: pytest.LogCaptureFixture) -> None:
    """The log says why, and the client is told that much."""
    site = Site(lambda: 1 / 0, ServingOptions(), in_background=True)  # type: ignore[arg-type,return-value]
    client = create_app(site).test_client()
    while "could not be loaded" not in client.post("/predict").text:
        time.sleep(0.01)
    assert client.get("/readyz").status_code == 503
    assert "ZeroDivisionError" in caplog.text


def test_feedback_is_logged_as_json(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With the service and its version; what is no object with a request_id is 400."""
    with caplog.at_level("INFO", logger="bentobatch.serving.feedback"):
        answer = client.post("/feedback", b'{"request_id": "abc", "right": false}')
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "logged")
    told = json.loads(caplog.records[-1].getMessage())
    assert (told["service"], told["feedback"]) == ("ServedService", {"request_id": "abc", "right": False})
    for body in (b"[]", b"{}", b"x", b'{"request_id": 5}'):
        assert client.post("/feedback", body).status == 400


def test_the_metadata_is_that_of_the_saved_bundle(client: Any, served_bundle: str) -> None:
    """D31 of BentoML: real JSON, the time of saving, the digest; not where packages come from."""
    found = json.loads(client.get("/metadata").body)
    manifest = read_manifest(Path(served_bundle))
    assert found["created_at"] == manifest.created_at.isoformat(timespec="seconds") + "Z"
    assert found["digest"] == f"sha256:{manifest.digest}"
    assert "predict" in [api["name"] for api in found["apis"]]
    assert "files" not in found
    assert set(found["env"]) <= {"python_version", "pip_packages", "requirements_txt", "docker_base_image", "conda_env"}


def test_the_counts_of_several_workers_are_added_up(tmp_path: Path) -> None:
    """Row 20: those of a dead worker stay, what it had at work does not; files of other layouts are passed over."""
    counts = Counts(["predict"], str(tmp_path))
    counts.apis["predict"].requests.add(200, 0.01)
    counts.apis["predict"].statistics.waiting_rows = 3
    child = os.fork()
    if child == 0:
        try:
            own = Counts(["predict"], str(tmp_path))
            own.apis["predict"].requests.add(200, 0.5)
            own.apis["predict"].requests.add(418, 0.5)
            own.apis["predict"].statistics.waiting_rows = 7
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    (tmp_path / "1.counts").write_bytes(b"x" * 80)
    Counts(["predict", "other"], str(tmp_path / "elsewhere"))
    together, workers = counts.together()
    assert workers == 1
    assert together["predict"].requests.by_status() == {200: 2, 0: 1}
    assert together["predict"].requests.seconds.count == 3
    assert together["predict"].statistics.waiting_rows == 3


def test_a_request_of_http_1_0_and_one_with_expect_are_answered(served_bundle: str) -> None:
    """Row 18, as far as this server goes."""
    with serve_way(served_bundle, {}) as way:
        for version in (b"1.0", b"1.1"):
            with socket.create_connection(("127.0.0.1", way.port), timeout=10) as connection:
                connection.sendall(
                    b"POST /predict HTTP/" + version + b"\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 9\r\nConnection: close\r\n"
                    + (b"Expect: 100-continue\r\n" if version == b"1.1" else b"")
                    + b"\r\n"
                )
                if version == b"1.1":
                    assert connection.recv(100).startswith(b"HTTP/1.1 100")
                connection.sendall(b"[[1,2,3]]")
                told = b"".join(iter(lambda: connection.recv(65536), b""))
            assert told.rpartition(b"HTTP/1.")[2].split(b" ", 2)[1] == b"200"
            assert told.endswith(b"[6.0]\n")
        connection = http.client.HTTPConnection("127.0.0.1", way.port, timeout=10)
        connection.request("GET", "/", headers={"Host": "evil.example"})
        assert connection.getresponse().status == 403
        connection.close()
