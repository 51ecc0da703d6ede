"""This module tests the benchmark of online servers: the load, the check of answers, the page. No time is asserted."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

MODULES = ("online_load", "online_page", "online_servers", "online_session", "online_targets", "render", "sections")
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The benchmarks' own package, which is importable only while these tests run."""
    sys.path.insert(0, str(HERE))
    try:
        yield SimpleNamespace(**{name: importlib.import_module(f"bentobench.{name}") for name in MODULES})
    finally:
        sys.path.remove(str(HERE))
        for name in [name for name in sys.modules if name.partition(".")[0] == "bentobench"]:
            del sys.modules[name]


class Summing(BaseHTTPRequestHandler):
    """Answers with the sum of each row, as an integer; 500 where that is below 0."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sums = [int(sum(row)) for row in rows]
        body = json.dumps(sums).encode()
        self.send_response(200 if sums[0] >= 0 else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where such a server listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Summing) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def session_of(bench: SimpleNamespace, rates: dict[str, list[float]]) -> dict[str, Any]:
    """A session as it is kept, in which the named servers answer so many requests a second, whatever the connections."""
    runs: dict[str, Any] = {}
    for name, rate in rates.items():
        kept = {"rate": rate, "failed": 0, "cut_off": 0, "checked": 10}
        kept |= {field: [value] * len(rate) for field, value in (("p50", 1.0), ("p99", 2.0), ("cpu_us", 30.0))}
        runs[name] = {"memory_mb": [100.0], "levels": dict.fromkeys(bench.online_session.LEVELS, kept)}
    machine = {"cores": 2, "memory_gb": 8, "processor": "a processor", "system": "Linux", "python": "3.11"}
    return {
        "date": "2026-01-02T03:04:05+00:00", "rounds": 2, "seconds": 2.0, "generator": "wrk", "machine": machine,
        "versions": {"flask": "3"}, "runs": runs,
    }  # fmt: skip


@pytest.mark.parametrize(("row", "failed"), [([1.0, 2.0], False), ([-5.0, 1.0], True)])
def test_the_generator_of_our_own_counts_answers_and_failures(
    port: int, row: list[float], failed: bool, tmp_path: Path
) -> None:
    """Where wrk is not installed; it ends by itself and writes one line."""
    body = tmp_path / "body.json"
    body.write_text(json.dumps([row]))
    words = ["127.0.0.1", str(port), "/predict", str(body), "4", "0.5"]
    done = subprocess.run(
        [sys.executable, str(HERE / "online" / "load.py"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found = json.loads(done.stdout.removeprefix("RESULT "))
    assert found["requests"] > 4
    assert found["failed"] == (found["requests"] if failed else 0)
    assert found["cut_off"] == 0
    assert 0 < found["p50_us"] <= found["p99_us"]


def test_a_wrong_answer_fails_a_window(bench: SimpleNamespace, port: int, tmp_path: Path, monkeypatch) -> None:
    """Known rows are asked for while the load is on; a right server gives a whole Window."""
    monkeypatch.setattr(bench.online_load.shutil, "which", lambda _: None)
    server = bench.online_servers.Server("summing", ())
    run = bench.online_servers.Running(psutil.Process(), port)
    right = bench.online_load.Sample([[1.0, 2.0], [3.0, 4.0]], [3, 7])
    seen = bench.online_load.window(server, run, right, connections=4, seconds=0.5, folder=tmp_path)
    assert seen.rate > 0
    assert seen.checked > 0
    assert (seen.failed, seen.cut_off) == (0, 0)
    wrong = bench.online_load.Sample(right.rows, [3, 8])
    with pytest.raises(bench.online_load.Wrong, match=r"under load: row 1 is \[8\]"):
        bench.online_load.window(server, run, wrong, connections=4, seconds=0.5, folder=tmp_path)


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs, and does not only wait for its parent to hear of its end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_is_started_and_all_of_it_is_ended(bench: SimpleNamespace, tmp_path: Path, monkeypatch) -> None:
    """Its children as well; one that ends by itself is told with its exit code."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(100)'])"
    work = SimpleNamespace(bundle="b", model="m")
    monkeypatch.setattr(bench.online_servers, "GRACE", 0.5)
    server = bench.online_servers.Server("sleeping", ("{python}", "-c", code))
    with bench.online_servers.running(server, Path(sys.executable), 1, work, tmp_path / "log") as run:
        while len(run.tree()) < 2:
            assert run.process.poll() is None
        tree = run.tree()
        assert run.memory_mb() > 0
    assert not [process for process in tree if is_alive(process)]
    ending = bench.online_servers.Server("ending", ("{python}", "-c", "raise SystemExit(7)"))
    sample = bench.online_load.Sample([[1.0]], [1])
    port = bench.online_load.free_port()
    started = bench.online_servers.running(ending, Path(sys.executable), port, work, tmp_path / "log")
    with started as run, pytest.raises(bench.online_load.Wrong, match="exit code 7"):
        bench.online_load.await_ready(ending, run, sample)


def test_each_server_gets_rows_in_its_own_form(bench: SimpleNamespace) -> None:
    """As lists, or in an object; every list of requirements is there and pins all versions."""
    plain, boxed = (dataclasses.replace(bench.online_servers.SERVERS[0], boxed=boxed) for boxed in (False, True))
    assert json.loads(plain.body([[1.5]])) == [[1.5]]
    assert json.loads(boxed.body([[1.5]])) == {"rows": [[1.5]]}
    for server in bench.online_servers.SERVERS:
        if server.environment:
            lines = (HERE / "online" / "requirements" / f"{server.environment}.txt").read_text().splitlines()
            assert all("==" in line for line in lines)


def test_the_section_holds_the_figures_the_ratios_and_what_failed(bench: SimpleNamespace) -> None:
    """A ratio is the median of the rounds' ratios; targets are judged by it, and what was not measured says so."""
    own, flask, fastapi = bench.online_servers.MINE[0], bench.online_servers.FLASK, bench.online_servers.FASTAPI
    session = session_of(bench, {own: [1500.0, 3000.0], flask: [100.0, 100.0], fastapi: [100.0, 300.0]})
    session["runs"]["LitServe, 2 workers"] = {"failed": "no matching distribution", "levels": {}, "memory_mb": []}
    section = bench.online_page.section({"S1": session})
    assert f"| {flask} | 100 · 1.00 · 2.00 · 30 |" in section
    assert "| 22.50 × |" in section
    assert "LitServe, 2 workers: did not run: no matching distribution" in section
    assert "2026-01-02, 2 rounds of 2 s" in section
    rows = {(row.work, row.text): row for row in bench.online_targets.targets({"S1": session})}
    beside_flask = rows["S1", f"64 connections: 15 × the requests/s of {flask}"]
    beside_fastapi = rows["S1", f"64 connections: 20 × the requests/s of {fastapi}"]
    assert (beside_flask.value, beside_flask.met) == (22.5, True)
    assert (beside_fastapi.value, beside_fastapi.met) == (12.5, False)
    assert {row.met for (work, _), row in rows.items() if work == "S2"} == {None}


def test_neither_command_erases_what_the_other_wrote(bench: SimpleNamespace, tmp_path: Path) -> None:
    """`make bench` writes the page around the section of `make bench-online`, which replaces its own only."""
    put = bench.sections.with_section
    assert put("", "## Online\n").startswith("# Performance\n\n<!-- make bench-online: begin -->\n## Online")
    page = put("# Performance\n\nold tables\n", "## Online\nfirst \\1\n")
    page = put(page, "## Online\nsecond \\1\n")
    assert (page.count("## Online"), "second \\1" in page, "old tables" in page) == (1, True, True)
    (tmp_path / "performance.md").write_text(page)
    bench.render.write({}, tmp_path, [])
    written = (tmp_path / "performance.md").read_text()
    assert ("second \\1" in written, "old tables" in written, "## Targets" in written) == (True, False, True)
    bench.render.write({}, tmp_path, [])
    assert (tmp_path / "performance.md").read_text() == written
