"""A run is seen from outside by the same names on every executor: events, a Prometheus textfile, StatsD and spans."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import bentobatch
from bentobatch.engine.metrics import METRICS_FILE, STATSD, STATSD_TAGS, Tally, metrics_text, statsd_address, statsd_of
from bentobatch.engine.scheduler import Scheduler
from bentobatch.engine.telemetry import exit_code_of
from bentobatch.engine.tracing import spans_of
from bentobatch.errors import ModelError, OutputError, TooManyRejectsError
from tests.conformance.pool_scheduler import PoolScheduler

EXECUTORS = ["inline", "threads", "processes", "pool"]
EACH = {"event", "plan_id", "bundle", "api", "executor"}
FIELDS = {
    "plan": {"rows", "splits", "splits_reused", "already_done", "seconds"},
    "split_finished": {"split", "rows", "rejected", "discarded", "seconds"},
    "split_failed": {"split", "error_type", "seconds"},
    "split_retried": {"split", "error_type", "seconds", "wait_seconds"},
    "commit": {"rows", "rejected", "discarded", "seconds"},
    "run_failed": {"stage", "exit_code", "error_type", "rows", "rejected", "discarded", "seconds"},
}
"""What docs/observability.md promises of each event, beside what each has."""
STAGES = ("total", "plan", "score", "read", "model", "write", "commit")
ROWS, SPLITS = 400, 4
PARENT_TRACE, PARENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Events(logging.Handler):
    """Keeps the fields of the events, with level and whether they are for machines only."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", None)
        if fields is not None:
            self.seen.append({**fields, "level": record.levelname})

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for fields in self.seen if fields["event"] == event]


def write_rows(folder: Path, bad: dict[int, float] | None = None, *, rows: int = ROWS) -> Path:
    values = [float(row) for row in range(rows)]
    for row, value in (bad or {}).items():
        values[row] = value
    pq.write_table(pa.table({"x0": values, "x1": [1.0] * rows}), folder / "in.parquet")
    return folder / "in.parquet"


def score(
    bundles: Path, folder: Path, executor: str, *, rows: int = ROWS, batch_rows: int = 50, **options: Any
) -> bentobatch.RunReport:
    """Four splits, in children whatever the executor, as the command line does it."""
    chosen: str | Scheduler = PoolScheduler(2) if executor == "pool" else executor
    return bentobatch.run(
        bundles / "picky", input_file=folder / "in.parquet", output_file=folder / "out.parquet",
        split_rows=rows // SPLITS, batch_rows=batch_rows, executor=chosen, workers=2, isolated=True, **options,
    )  # fmt: skip


def samples(file: Path) -> dict[str, float]:
    """The textfile's samples, without the labels that all have."""
    found = {}
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name.replace('bundle="Picky:1",api="predict"', "").replace(",}", "}").replace("{}", "")] = float(
                value
            )
    return found


def bundle_tag(events: Events) -> str:
    return str(events.seen[0]["bundle"])


@contextlib.contextmanager
def heard_events() -> Iterator[Events]:
    """What the logger of the library is told, from debug level on."""
    handler, logger = Events(), logging.getLogger("bentobatch")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def heard_spans() -> Iterator[InMemorySpanExporter]:
    """What a process with a tracer provider of its own is told. (A process's provider can be set once only.)"""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer_provider", lambda: provider)
        yield exporter
    provider.shutdown()


@pytest.fixture
def events() -> Iterator[Events]:
    with heard_events() as events:
        yield events


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    with heard_spans() as spans:
        yield spans


@dataclass
class Seen:
    """One run with a rejected row, seen in every way at once."""

    executor: str
    report: bentobatch.RunReport
    events: Events
    spans: dict[str, list[ReadableSpan]]
    metrics: Path
    datagrams: list[str]


@pytest.fixture(scope="module", params=EXECUTORS)
def seen(request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    executor, folder = request.param, tmp_path_factory.mktemp("seen")
    (folder / "metrics").mkdir()
    write_rows(folder, {150: -1.0})
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        heard_events() as events,
        heard_spans() as spans,
        pytest.MonkeyPatch.context() as patch,
    ):
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        patch.setenv(STATSD, f"127.0.0.1:{server.getsockname()[1]}")
        patch.setenv("TRACEPARENT", f"00-{PARENT_TRACE}-{PARENT_SPAN}-01")
        report = score(bundles, folder, executor, max_rejects=1, metrics_file=folder / "metrics" / "run.prom")
        datagrams: list[str] = []
        while not datagrams or ".run.time.commit:" not in datagrams[-1]:  # the last of a run
            datagrams.append(server.recv(4096).decode())
    return Seen(executor, report, events, by_name(spans), folder / "metrics" / "run.prom", datagrams)


def test_the_same_events_and_fields_on_every_executor(seen: Seen) -> None:
    """One plan, one event for each split, one commit and one report, each with the documented fields and no other."""
    events, report = seen.events, seen.report
    count = Counter(fields["event"] for fields in events.seen)
    assert count == {"plan": 1, "split_finished": SPLITS, "commit": 1, "report": 1}
    for fields in events.seen:
        assert set(fields) >= EACH
        if fields["event"] != "report":
            assert set(fields) == EACH | FIELDS[fields["event"]] | {"level"}
        assert isinstance(fields["seconds"], float)
        assert (fields["plan_id"], fields["bundle"], fields["api"]) == (report.plan_id, report.bundle, "predict")
    splits = sorted(events.named("split_finished"), key=lambda fields: fields["split"])
    assert [(fields["split"], fields["rows"], fields["rejected"]) for fields in splits] == [
        (0, 100, 0), (1, 100, 1), (2, 100, 0), (3, 100, 0),
    ]  # fmt: skip
    assert {fields["level"] for fields in splits} == {"DEBUG"}
    assert {fields["executor"] for fields in (*splits, *events.named("report"))} == {seen.executor}
    assert (events.named("commit")[0]["rows"], events.named("report")[0]["scored"]) == (ROWS, ROWS - 1)


def test_the_textfile_has_the_same_numbers_on_every_executor(seen: Seen) -> None:
    """Rows, splits and stages by their names; the file is whole, and alone in its folder."""
    assert os.listdir(seen.metrics.parent) == ["run.prom"]
    own = f'bundle="{seen.report.bundle}",api="predict"'
    text = seen.metrics.read_text()
    assert f'bentobatch_run_rows_total{{status="scored",{own}}} {ROWS - 1}\n' in text
    assert f'bentobatch_run_rows_total{{status="rejected",{own}}} 1\n' in text
    assert f'bentobatch_run_rows_total{{status="discarded",{own}}} 0\n' in text
    assert f'bentobatch_run_splits_total{{status="scored",{own}}} {SPLITS}\n' in text
    assert f'bentobatch_run_failed{{exit_code="0",{own}}} 0\n' in text
    assert f"bentobatch_run_last_success_timestamp_seconds{{{own}}} " in text
    assert re.findall(r'^bentobatch_run_seconds{stage="(\w+)"', text, re.MULTILINE) == list(STAGES)
    for line in text.splitlines():
        assert line.startswith(("# HELP bentobatch_run_", "# TYPE bentobatch_run_", "bentobatch_run_"))


def test_statsd_gets_the_same_names_on_every_executor(seen: Seen) -> None:
    """Counters and timers by UDP, in the plain form that every server takes."""
    lines = seen.datagrams
    assert lines.count("bentobatch.split.finished:1|c") == SPLITS
    assert f"bentobatch.run.rows.scored:{ROWS - 1}|c" in lines
    assert "bentobatch.run.rows.rejected:1|c" in lines
    assert "bentobatch.run.succeeded:1|c" in lines
    assert all(re.fullmatch(r"bentobatch\.[a-z.]+:[0-9.]+\|(c|ms)", line) for line in lines)
    assert {line.partition(":")[0] for line in lines} == {
        "bentobatch.split.finished", "bentobatch.split.time", "bentobatch.run.succeeded", "bentobatch.run.rows.scored",
        "bentobatch.run.rows.rejected", "bentobatch.run.rows.discarded", "bentobatch.run.rows.reused",
        "bentobatch.run.splits.scored", "bentobatch.run.splits.reused",
        *(f"bentobatch.run.time.{stage}" for stage in STAGES),
    }  # fmt: skip


def test_the_same_spans_on_every_executor(seen: Seen) -> None:
    """A job with its plan, splits and commit as children, inside the trace that the environment names."""
    found, report = seen.spans, seen.report
    assert {name: len(spans) for name, spans in found.items()} == {
        "bentobatch.job": 1, "bentobatch.plan": 1, "bentobatch.split": SPLITS, "bentobatch.commit": 1,
    }  # fmt: skip
    (root,) = found["bentobatch.job"]
    assert root.parent is not None
    assert (f"{root.parent.trace_id:032x}", f"{root.parent.span_id:016x}") == (PARENT_TRACE, PARENT_SPAN)
    for name in ("bentobatch.plan", "bentobatch.split", "bentobatch.commit"):
        for span in found[name]:
            assert span.parent is not None
            assert (span.parent.span_id, span.context.trace_id) == (root.context.span_id, root.context.trace_id)
            assert (root.start_time or 0) <= (span.start_time or 0) <= (span.end_time or 0) <= (root.end_time or 0)
    assert dict(root.attributes or {}) == {
        "bentobatch.plan_id": report.plan_id, "bentobatch.bundle": report.bundle, "bentobatch.api": "predict",
        "bentobatch.bundle_digest": report.bundle_digest, "bentobatch.executor": seen.executor,
        "bentobatch.splits": SPLITS, "bentobatch.scored": ROWS - 1, "bentobatch.rejected": 1,
        "bentobatch.discarded": 0, "bentobatch.exit_code": 0,
    }  # fmt: skip
    attributes = [dict(span.attributes or {}) for span in found["bentobatch.split"]]
    lost = {each["bentobatch.split"]: each["bentobatch.rejected"] for each in attributes}
    assert lost == {0: 0, 1: 1, 2: 0, 3: 0}


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_row_that_ends_its_process_is_seen_as_deaths_on_every_executor(
    bundles: Path, tmp_path: Path, events: Events, spans: InMemorySpanExporter, executor: str
) -> None:
    """Also where a scheduler's worker counts them far away: each is a warning, a count, and a moment of the split's span."""
    write_rows(tmp_path, {30: -2.0}, rows=80)  # beyond the rows that planning looks at
    score(bundles, tmp_path, executor, rows=80, batch_rows=2, max_rejects=1, metrics_file=tmp_path / "m.prom")
    died = events.named("split_died")
    assert len(died) >= 3
    # on threads the other splits in the same process die with it
    assert 1 in {fields["split"] for fields in died}
    assert {fields["level"] for fields in died} == {"WARNING"}
    assert all(set(fields) >= EACH | {"split", "death", "seconds"} for fields in died)
    text = (tmp_path / "m.prom").read_text()
    tag = bundle_tag(events)
    assert f'bentobatch_run_worker_deaths_total{{bundle="{tag}",api="predict"}} {len(died)}\n' in text
    split = next(span for span in spans.get_finished_spans() if (span.attributes or {}).get("bentobatch.split") == 1)
    assert len(split.events) == sum(fields["split"] == 1 for fields in died)
    assert {moment.name for moment in split.events} == {"died"}
    assert split.status.is_ok


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_failing_run_says_so_everywhere(
    bundles: Path, tmp_path: Path, events: Events, spans: InMemorySpanExporter, executor: str
) -> None:
    """The event, the textfile and the root span have the exit code; the textfile keeps the last success's time."""
    write_rows(tmp_path)
    score(bundles, tmp_path, executor, metrics_file=tmp_path / "m.prom")
    before = [line for line in (tmp_path / "m.prom").read_text().splitlines() if "last_success" in line]
    events.seen.clear()
    spans.clear()
    write_rows(tmp_path, dict.fromkeys(range(200, 300), -8.0))
    with pytest.raises(ModelError):
        score(bundles, tmp_path, executor, overwrite=True, metrics_file=tmp_path / "m.prom")
    (failed,) = events.named("run_failed")
    assert set(failed) == EACH | FIELDS["run_failed"] | {"level"}
    assert (failed["stage"], failed["exit_code"], failed["error_type"]) == ("score", 70, "ModelError")
    (split,) = events.named("split_failed")
    assert (set(split), split["split"]) == (EACH | FIELDS["split_failed"] | {"level"}, 2)
    assert not events.named("commit")
    lines = (tmp_path / "m.prom").read_text().splitlines()
    assert f'bentobatch_run_failed{{exit_code="70",bundle="{failed["bundle"]}",api="predict"}} 1' in lines
    assert [line for line in lines if "last_success" in line] == before
    assert len(before) == 3
    root = by_name(spans)["bentobatch.job"][0]
    assert not root.status.is_ok
    assert (root.attributes or {})["bentobatch.exit_code"] == 70
    assert "bentobatch.commit" not in by_name(spans)


def test_a_run_that_goes_on_tells_what_it_took_over(bundles: Path, tmp_path: Path, events: Events) -> None:
    """Splits of an earlier run are reused, not scored; the rows still add up to the output's."""
    write_rows(tmp_path, {350: -1.0, 351: -1.0})
    with pytest.raises(TooManyRejectsError):
        score(bundles, tmp_path, "inline", max_rejects=1, metrics_file=tmp_path / "m.prom")
    failed = samples(tmp_path / "m.prom")
    assert failed['bentobatch_run_splits_total{status="scored",' + own_labels(events)] == SPLITS
    assert failed['bentobatch_run_failed{exit_code="71",' + own_labels(events)] == 1
    assert not any("last_success" in name for name in failed)
    events.seen.clear()
    score(bundles, tmp_path, "inline", max_rejects=2, metrics_file=tmp_path / "m.prom")
    done = samples(tmp_path / "m.prom")
    assert done['bentobatch_run_splits_total{status="scored",' + own_labels(events)] == 0
    assert done['bentobatch_run_splits_total{status="reused",' + own_labels(events)] == SPLITS
    assert done['bentobatch_run_rows_total{status="scored",' + own_labels(events)] == ROWS - 2
    assert done['bentobatch_run_rows_total{status="rejected",' + own_labels(events)] == 2
    assert events.named("plan")[0]["splits_reused"] == SPLITS
    events.seen.clear()
    report = score(bundles, tmp_path, "inline", max_rejects=2)
    assert report.already_done
    assert [fields["event"] for fields in events.seen] == ["plan", "report"]
    assert events.named("plan")[0]["already_done"] is True


def own_labels(events: Events) -> str:
    return f'bundle="{bundle_tag(events)}",api="predict"}}'


def test_a_retry_is_an_event_and_a_count(
    bundles: Path, tmp_path: Path, events: Events, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning that people see has the fields for machines; the split has one span from its first try to its end."""
    monkeypatch.setenv("BENTOBATCH_TEST_FLAG", str(tmp_path / "flag"))
    write_rows(tmp_path, {150: -9.0})
    score(bundles, tmp_path, "processes", metrics_file=tmp_path / "m.prom")
    (retried,) = events.named("split_retried")
    assert set(retried) == EACH | FIELDS["split_retried"] | {"level"}
    assert (retried["level"], retried["split"]) == ("WARNING", 1)
    assert samples(tmp_path / "m.prom")["bentobatch_run_split_retries_total{" + own_labels(events)] == 1
    found = [span for span in by_name(spans)["bentobatch.split"] if (span.attributes or {})["bentobatch.split"] == 1]
    assert [[moment.name for moment in span.events] for span in found] == [["retried"]]


# -- the textfile


def test_label_values_are_escaped() -> None:
    """Quotes, backslashes and line breaks cannot end a label, and bytes that are no UTF-8 cannot break the file."""
    text = metrics_text(Tally(bundle='a"b\\c\nd\udcff', api="x", executor="inline"))
    assert 'bundle="a\\"b\\\\c\\nd\\\\xff",api="x"' in text
    assert text.encode("utf-8").count(b"\n") == len(text.splitlines())


def test_the_environment_names_a_directory_with_a_file_for_each_api(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that every scheduler's runs have it without a keyword, and no two files hold the same series."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    monkeypatch.setenv(METRICS_FILE, str(folder))
    write_rows(tmp_path)
    report = score(bundles, tmp_path, "inline")
    assert os.listdir(folder) == [f"bentobatch_{report.bundle.partition(':')[0]}_predict.prom"]


def test_a_metrics_file_that_cannot_be_written_is_refused_when_named_and_told_when_not(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By keyword before the run has cost its time; by environment, or later, the run is worth more than its numbers."""
    write_rows(tmp_path)
    for name in ("missing/m.prom", "m.txt"):
        with pytest.raises(OutputError, match="metrics-file"):
            score(bundles, tmp_path, "inline", metrics_file=tmp_path / name)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(METRICS_FILE, str(tmp_path / "file" / "m.prom"))
    assert score(bundles, tmp_path, "inline").rows == ROWS
    assert "the metrics file was not written" in caplog.text


# -- StatsD


def test_tags_are_added_where_they_are_asked_for() -> None:
    """Plain StatsD does not know them; what would end a tag is replaced."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        environ = {STATSD: f"127.0.0.1:{server.getsockname()[1]}", STATSD_TAGS: "dogstatsd"}
        sender = statsd_of({"bundle": "a|b,c:1", "api": "predict"}, environ)
        assert sender is not None
        sender.count("split.finished")
        sender.close()
        assert server.recv(4096) == b"bentobatch.split.finished:1|c|#bundle:a_b_c:1,api:predict"
    assert statsd_of({}, {}) is None


@pytest.mark.parametrize("address", ["no.such.host.invalid:8125", "not an address", "127.0.0.1:1"])
def test_a_statsd_that_is_not_there_fails_no_run(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """An unknown host, nonsense, or nobody who listens."""
    monkeypatch.setenv(STATSD, address)
    write_rows(tmp_path)
    assert score(bundles, tmp_path, "inline").rows == ROWS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host:1", ("host", 1)), ("host", ("host", 8125)), ("[::1]:9", ("::1", 9)), ("[::1]", ("::1", 8125)),
        ("::1", None), ("host:", None), ("host:0", None), ("host:65536", None), ("a b:1", None), (":1", None),
    ],
)  # fmt: skip
def test_the_address_of_statsd(text: str, expected: tuple[str, int] | None) -> None:
    """Host and port, the usual port by default."""
    assert statsd_address(text) == expected


# -- spans


def by_name(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def test_the_callers_own_span_comes_before_the_environment(
    bundles: Path, tmp_path: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the nearer one."""
    monkeypatch.setenv("TRACEPARENT", f"00-{PARENT_TRACE}-{PARENT_SPAN}-01")
    write_rows(tmp_path)
    with trace.get_tracer_provider().get_tracer("test").start_as_current_span("mine") as mine:
        score(bundles, tmp_path, "inline")
    (root,) = by_name(spans)["bentobatch.job"]
    assert root.parent is not None
    assert root.parent.span_id == mine.get_span_context().span_id


def test_a_malformed_parent_is_no_parent(
    bundles: Path, tmp_path: Path, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may have set the variable."""
    monkeypatch.setenv("TRACEPARENT", "nonsense")
    write_rows(tmp_path)
    score(bundles, tmp_path, "inline")
    assert by_name(spans)["bentobatch.job"][0].parent is None


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, {"OTEL_SDK_DISABLED": "true"}],
)
def test_without_a_provider_or_an_exporter_there_are_no_spans(environ: dict[str, str]) -> None:
    """That the library is imported by somebody is no wish for spans."""
    assert spans_of(environ) is None


def test_an_exporter_that_is_not_installed_is_told_and_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The environment may be meant for another program."""
    assert spans_of({"OTEL_TRACES_EXPORTER": "no_such_exporter"}) is None
    assert "no exporter no_such_exporter is installed" in caplog.text


# -- the command line


def command(bundles: Path, folder: Path, *more: str, **environ: str) -> subprocess.CompletedProcess[str]:
    words = [
        "run", str(bundles / "picky"), "predict", "--input-file", str(folder / "in.parquet"), "--output-file",
        str(folder / "out.parquet"), "--split-rows", "100", "--executor", "inline", *more,
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "bentobatch", *words],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environ}, check=False,
    )  # fmt: skip


def test_json_logs_are_events_and_text_is_as_it_was(bundles: Path, tmp_path: Path) -> None:
    """One object a line; the splits only with --debug; the lines for people say nothing new."""
    write_rows(tmp_path)
    done = command(bundles, tmp_path, "--log-format", "json", "--metrics-file", str(tmp_path / "m.prom"))
    assert done.returncode == 0, done.stderr
    seen = [line for line in map(json.loads, done.stderr.splitlines()) if "splits_done" not in line]
    assert [event.get("event") for event in seen] == ["plan", "commit", "report"]
    assert all(set(event) >= EACH | {"time", "level", "message", "seconds", "rows"} for event in seen)
    assert (tmp_path / "m.prom").exists()
    done = command(bundles, tmp_path, "--log-format", "json", "--debug", "--overwrite", "--restart", "--keep-all")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    # a run that takes long tells how it goes on, between the events
    names = Counter(line.get("event") for line in lines if "splits_done" not in line)
    assert names == {"plan": 1, "split_finished": SPLITS, "commit": 1, "report": 1}
    done = command(bundles, tmp_path, "--overwrite", "--keep", "x0")
    told = [line.split()[0] for line in done.stderr.splitlines() if not line.startswith("bentobatch: ")]
    assert told == ["rows", "seconds", "output"]


def test_json_logs_of_a_failing_run_name_the_plan_and_the_stage(bundles: Path, tmp_path: Path) -> None:
    """Beside the line that says what to do; the exit code stands in both, and in the textfile."""
    write_rows(tmp_path, {150: -1.0})
    done = command(bundles, tmp_path, "--log-format", "json", **{METRICS_FILE: str(tmp_path / "m.prom")})
    assert done.returncode == 71
    seen = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event.get("event") for event in seen] == ["plan", "run_failed", None]
    assert (seen[1]["stage"], seen[1]["exit_code"], seen[2]["exit_code"], seen[2]["level"]) == (
        "commit",
        71,
        71,
        "error",
    )
    assert 'bentobatch_run_failed{exit_code="71",' in (tmp_path / "m.prom").read_text()


def test_a_plain_run_exports_where_the_environment_says(bundles: Path, tmp_path: Path) -> None:
    """OTEL_EXPORTER_OTLP_ENDPOINT alone is enough where the SDK and an exporter are installed."""
    heard: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    write_rows(tmp_path)
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = command(
            bundles, tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{server.server_port}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_COMPRESSION="none",
            OTEL_SERVICE_NAME="nightly-scores",
        )  # fmt: skip
        server.shutdown()
    assert done.returncode == 0, done.stderr
    body = b"".join(data for path, data in heard if path == "/v1/traces")
    for word in (b"bentobatch.job", b"bentobatch.plan", b"bentobatch.split", b"bentobatch.commit", b"nightly-scores"):
        assert word in body


_LEADER = """
import json, sys
from bentobatch.cli.main import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize("asked", [False, True])
def test_the_leader_imports_no_tracing_unless_asked_and_never_pyarrow(
    bundles: Path, tmp_path: Path, asked: bool
) -> None:
    """Neither for a whole run nor for --help; where spans are asked for, the leader is still free of data libraries."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TRACEPARENT"))}
    if asked:
        environ |= {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
                    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}  # fmt: skip
    write_rows(tmp_path)
    run = [
        "run", str(bundles / "picky"), "--input-file", str(tmp_path / "in.parquet"),
        "--output-file", str(tmp_path / "out.parquet"), "--metrics-file", str(tmp_path / "m.prom"),
    ]  # fmt: skip
    for words in (["--help"], run):
        done = subprocess.run(
            [sys.executable, "-c", _LEADER, *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=environ,
            check=True,
        )
        code, modules = json.loads(done.stdout.splitlines()[-1])
        assert code == 0, done.stderr
        assert ("opentelemetry" in modules) is (asked and words is run)
        assert {"pyarrow", "pandas", "numpy"}.isdisjoint(modules)


def test_the_exit_code_of_an_error_is_the_command_lines() -> None:
    """One number in the log, the textfile and the shell."""
    from bentobatch.cli.main import _line_and_code
    from bentobatch.engine.stop import Stopped

    for error in (
        ModelError("x"),
        TooManyRejectsError("x"),
        Stopped(15),
        KeyboardInterrupt(),
        ValueError("x"),
        MemoryError(),
    ):
        assert exit_code_of(error) == _line_and_code(error)[1]
    assert exit_code_of(OSError(28, "No space left on device")) == 74
