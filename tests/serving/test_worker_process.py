"""This module tests the production server as processes: what dies comes back, what stops loses nothing, what rests costs
nothing. All of it over real gunicorns, whose starts the tests share."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import importlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bentobatch.cli.main import main
from bentobatch.errors import ModelError
from bentobatch.serving.gunicorn_serving import once
from tests.serving.ways import Answer, Way, process_way

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of DyingService."""
    return saved(tmp_path_factory.mktemp("dying") / "bundle")


def saved(folder: Path) -> str:
    """A new version of it."""
    sys.path.insert(0, str(HERE))
    try:
        service = importlib.import_module("dying_service").DyingService()
    finally:
        sys.path.remove(str(HERE))
    service.pack("nothing", None)
    return str(service.save_to_dir(str(folder)))


@pytest.fixture(scope="module")
def current(bundle: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A link to it, as deployments have them."""
    link = tmp_path_factory.mktemp("current") / "current"
    link.symlink_to(bundle)
    return link


@contextlib.contextmanager
def serving(bundle: str, *flags: str) -> Iterator[Way]:
    """A server of its own."""
    command = [sys.executable, "-m", "bentobatch", "serve-gunicorn", bundle, "--port", "0", *flags]
    with process_way("worker", command, r"http://127\.0\.0\.1:(\d+)") as way:
        until(lambda: way.get("/readyz").status == 200)
        yield way


@pytest.fixture(scope="module")
def two(current: Path) -> Iterator[Way]:
    """A server with two workers, and patience."""
    with serving(str(current), "--workers=2") as way:
        yield way


@pytest.fixture(scope="module")
def impatient(bundle: str) -> Iterator[Way]:
    """A server with one worker that loads the bundle by itself, a short queue, and two seconds for each call."""
    with serving(bundle, "--timeout=2", "--max-queue-rows=8", "--no-preload") as way:
        yield way


def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for what another process is about to do, and return it."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := condition():
                return found
        assert time.monotonic() < end
        time.sleep(0.02)


def asked(way: Way, **order: Any) -> dict[str, Any]:
    """What the api says."""
    answer = way.post("/predict", json.dumps(order).encode())
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def workers(way: Way) -> set[int]:
    return {child.pid for child in psutil.Process(way.process).children()}


def metric(way: Way, name: str) -> float:
    """The sum of a metric over its labels."""
    lines = way.get("/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)


def kept(way: Way) -> http.client.HTTPConnection:
    """A connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", way.port, timeout=30)
    connection.request("GET", "/livez")
    assert connection.getresponse().read()
    return connection


def test_the_bundle_is_loaded_once_and_shared(two: Way) -> None:
    """The master loads it before the fork: both workers have what it loaded."""
    found = until(lambda: len(seen := {asked(two)["pid"] for _ in range(20)}) == 2 and seen)
    assert found == workers(two)
    assert asked(two)["loaded_by"] == two.process


def test_without_preload_each_worker_loads_the_bundle(impatient: Way) -> None:
    """For models that do not outlive a fork."""
    found = asked(impatient)
    assert found["loaded_by"] == found["pid"] != impatient.process


def test_the_url_is_told_by_the_first_worker_that_is_ready(impatient: Way) -> None:
    """And by no other: also one that comes for a worker that died would tell it."""
    told: list[str] = []
    tell = once(lambda: told.append("told"))
    for _ in range(3):
        tell()
    assert told == ["told"]
    assert "".join(impatient.output).count("http://") == 1


_BROKEN = """
import sys
from gunicorn.workers.gthread import ThreadWorker
from bentobatch.cli.main import main

def fail(worker):
    raise OSError("no room for a worker")

ThreadWorker.init_signals = fail
sys.exit(main(["serve-gunicorn", sys.argv[1], "--port=0", "--worker-class=gthread"]))
"""


def test_no_url_is_told_where_no_worker_can_start(bundle: str) -> None:
    """The bundle was loaded before the fork, and nothing answers all the same."""
    command = [sys.executable, "-c", _BROKEN, bundle]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ModelError.exit_code
    assert "no room for a worker" in done.stderr
    assert "a worker could not start" in done.stderr
    assert "http://" not in done.stderr + done.stdout


def test_a_certificate_that_is_none_is_refused_at_once(bundle: str, tmp_path: Path, capfd: Any) -> None:
    """Not by one worker after the other."""
    certificate, key = certificate_for_localhost(tmp_path)
    key.write_text("no key")
    assert main(["serve-gunicorn", bundle, "--port=0", f"--tls-cert={certificate}", f"--tls-key={key}"]) == 2
    assert "cannot be used" in capfd.readouterr().err


def test_there_is_one_listener_and_no_other(two: Way) -> None:
    """S03: nothing but the port that was asked for, on loopback."""
    processes = [psutil.Process(two.process), *psutil.Process(two.process).children(recursive=True)]
    listening = {
        connection.laddr for each in processes for connection in each.net_connections("all") if is_open(connection)
    }
    assert {tuple(address) for address in listening} == {("127.0.0.1", two.port)}


def is_open(connection: Any) -> bool:
    if connection.family == socket.AF_UNIX:
        return bool(connection.laddr) and connection.type == socket.SOCK_STREAM
    return connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM


def test_a_worker_that_is_killed_comes_back_and_the_others_go_on(two: Way) -> None:
    """Row 25: kill -9. Requests before, during and after it are answered, but those that were in the killed one."""
    before = until(lambda: len(workers(two)) == 2 and workers(two))
    victim = asked(two)["pid"]
    os.kill(victim, signal.SIGKILL)
    assert until(lambda: asked(two)["pid"]) in before - {victim} | workers(two)
    assert until(lambda: len(now := workers(two)) == 2 and victim not in now)
    assert until(lambda: asked(two))["loaded_by"] == two.process


def test_a_model_that_ends_its_process_costs_its_own_request(two: Way) -> None:
    """Row 25: os._exit in the api. Its client sees the connection end; the next ones are answered."""
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        two.post("/predict", b'{"exit": 1}')
    assert until(lambda: asked(two))
    until(lambda: len(workers(two)) == 2)


def test_a_hangup_loads_the_bundle_anew_without_losing_a_request(two: Way, current: Path) -> None:
    """SIGHUP: new workers with what the name of the bundle means now; whoever asks meanwhile is answered."""
    old, version = workers(two), json.loads(two.get("/metadata").body)["metadata"]["service_version"]
    current.unlink()
    current.symlink_to(saved(current.parent / "next"))
    os.kill(two.process, signal.SIGHUP)
    answers = []
    while not answers or workers(two) & old or len(workers(two)) < 2:
        answers.append(asked(two))
    assert not workers(two) & old
    assert json.loads(two.get("/metadata").body)["metadata"]["service_version"] != version
    assert "".join(two.output).count("http://") == 1  # the new workers know that it was told
    assert {answer["pid"] for answer in answers} <= old | workers(two)


def test_at_rest_it_costs_nothing(two: Way) -> None:
    """Row 23: with a connection that lies open. A beat a second is all there is; a poll every few ms would show."""
    connection = kept(two)
    processes = [psutil.Process(two.process), *psutil.Process(two.process).children()]
    time.sleep(0.5)

    def spent() -> float:
        return sum(each.cpu_times().user + each.cpu_times().system for each in processes)

    before = spent()
    time.sleep(2.0)
    assert spent() - before <= 0.06
    connection.close()


def test_ten_thousand_connections_do_not_keep_it_from_answering(two: Way) -> None:
    """Idle ones, as many as this machine lets one process have up to 10,000; then they leave."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    clients: list[socket.socket] = []
    try:
        for number in range(wanted):
            clients.append(socket.create_connection(("127.0.0.1", two.port), timeout=30))
            if number % 2_500 == 0:
                assert asked(two)
        assert asked(two)
        assert two.get("/readyz").status == 200
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert asked(two)


def test_a_slow_call_holds_up_neither_health_nor_the_heartbeat(impatient: Way) -> None:
    """Row 14: calls of 1.5 s, one after the other for longer than --timeout, and the same worker all along."""
    pid = asked(impatient)["pid"]
    with ThreadPoolExecutor(1) as threads:
        slow = [threads.submit(asked, impatient, sleep=1.4) for _ in range(3)]
        while not slow[-1].done():
            began = time.monotonic()
            assert impatient.get("/livez").status == impatient.get("/readyz").status == 200
            assert time.monotonic() - began < 1.0
            time.sleep(0.05)
        assert {each.result()["pid"] for each in slow} == {pid}


def test_more_than_may_wait_is_refused_at_once_and_the_rest_answered(impatient: Way) -> None:
    """Row 11: 503 with Retry-After, while the call that they would wait for still lasts."""
    for _ in range(10):  # what it knows of its calls is then not the first one alone, which imports libraries
        asked(impatient)
    with ThreadPoolExecutor(40) as threads:
        slow = threads.submit(asked, impatient, sleep=1.2)
        time.sleep(0.3)

        def one(_: int) -> tuple[Answer, bool]:
            answer = impatient.post("/predict", b"{}")
            return answer, slow.done()

        answers = list(threads.map(one, range(30)))
        assert slow.result()
    refused = [(answer, late) for answer, late in answers if answer.status == 503]
    assert {answer.status for answer, _ in answers} == {200, 503}
    assert len(answers) - len(refused) == 8
    assert not any(late for _, late in refused)
    assert all(int(answer.headers["retry-after"]) >= 1 for answer, _ in refused)


def test_after_a_burst_a_single_request_waits_for_nobody(impatient: Way) -> None:
    """Row 22, by what it rests on: no pause was learned, and the request goes to the api by itself."""
    with ThreadPoolExecutor(64) as threads:
        list(threads.map(lambda _: impatient.post("/predict", b"{}"), range(256)))
    assert asked(impatient)["batch"] == 1


def test_a_call_that_hangs_ends_its_worker_and_another_takes_over(impatient: Way) -> None:
    """The heartbeat goes on, so the worker itself sees to it, after --timeout."""
    pid = asked(impatient)["pid"]
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        impatient.post("/predict", b'{"sleep": 600}')
    until(lambda: impatient.get("/readyz").status == 200)
    assert asked(impatient)["pid"] != pid
    assert "api predict has not returned for 2 seconds" in "".join(impatient.output)


def test_https_is_served_with_a_certificate(bundle: str, tmp_path: Path) -> None:
    """--tls-cert and --tls-key; who speaks no TLS gets no answer, and the server goes on."""
    certificate, key = certificate_for_localhost(tmp_path)
    command = [sys.executable, "-m", "bentobatch", "serve-gunicorn", bundle, "--port", "0"]
    command += [f"--tls-cert={certificate}", f"--tls-key={key}"]
    context = ssl.create_default_context(cafile=str(certificate))
    with process_way("worker", command, r"https://127\.0\.0\.1:(\d+)") as way:

        def get() -> int:
            connection = http.client.HTTPSConnection("localhost", way.port, context=context, timeout=30)
            connection.request("POST", "/predict", b"{}", {"Content-Type": "application/json"})
            status = connection.getresponse().status
            connection.close()
            return status

        assert until(get) == 200
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            way.get("/livez")
        assert get() == 200


def certificate_for_localhost(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = folder / "certificate.pem", folder / "key.pem"
    made[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    made[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


def test_stopping_answers_what_was_accepted(bundle: str) -> None:
    """Rows 15 and 16: SIGTERM under load. Ready no more, alive still; new connections refused; all answered; exit 0."""
    with serving(bundle, "--workers=2", "--graceful-timeout=20") as way:
        idle = [kept(way) for _ in range(8)]
        with ThreadPoolExecutor(30) as threads:
            slow = [threads.submit(asked, way, sleep=0.5) for _ in range(20)]
            time.sleep(0.3)
            os.kill(way.process, signal.SIGTERM)
            until(lambda: is_refused(way))
            for path, status in (("/readyz", 503), ("/livez", 200)):
                connection = idle.pop()
                connection.request("GET", path)
                found = connection.getresponse()
                assert (found.status, found.headers["Connection"]) == (status, "close")
                connection.close()
            assert len([each.result() for each in slow]) == 20
        assert psutil.Process(way.process).wait(20) == 0
        for connection in idle:
            connection.close()


def is_refused(way: Way) -> bool:
    try:
        socket.create_connection(("127.0.0.1", way.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_thousand_clients_that_leave_are_dropped_and_what_outlasts_the_grace_is_given_up(bundle: str) -> None:
    """Row 13: their rows never go to the api, and the next request is answered. Then the server is stopped in the middle
    of a call that takes too long, and ends all the same."""
    with serving(bundle, "--graceful-timeout=1") as way:
        body = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        with ThreadPoolExecutor(1) as threads:
            slow = threads.submit(asked, way, sleep=2.0)
            time.sleep(0.3)
            for _ in range(1_000):
                with socket.create_connection(("127.0.0.1", way.port), timeout=30) as client:
                    client.sendall(body)
            assert slow.result()
        assert asked(way)["batch"] == 1
        dropped = metric(way, "bentobatch_cancelled_total")
        assert dropped >= 500  # all 1,000 on a machine that is not too busy to send them within two seconds
        assert metric(way, "bentobatch_batch_rows_sum") + dropped == 1_002
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                way.post("/predict", b'{"sleep": 30}')
            except (http.client.HTTPException, OSError) as error:
                failed.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.4)
        os.kill(way.process, signal.SIGTERM)
        assert psutil.Process(way.process).wait(10) == 0
        thread.join()
        assert failed
