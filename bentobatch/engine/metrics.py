"""This module puts what a run did into numbers for monitoring: a Prometheus textfile at its end, StatsD while it goes on.

Both are written by hand: two small text formats, and no library would be there on every machine that starts a run.
Sources: Prometheus, "Exposition formats" (text-based format 0.0.4); node_exporter, "Textfile Collector"; Etsy's StatsD,
"Metric types"; Datadog, "DogStatsD datagram format".
"""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bentobatch.engine.store import whole_file
from bentobatch.errors import OutputError

METRICS_FILE = "BENTOBATCH_METRICS_FILE"
"""Environment variable: a file NAME.prom, or a directory in which each bundle's name and api have one."""
STATSD = "BENTOBATCH_STATSD"
"""Environment variable: HOST:PORT of a StatsD server; nothing is sent anywhere without it."""
STATSD_TAGS = "BENTOBATCH_STATSD_TAGS"
"""Environment variable: "dogstatsd" adds bundle, api and executor as tags, which plain StatsD does not know."""
STATSD_PORT = 8125
_LAST_SUCCESS = "bentobatch_run_last_success_timestamp_seconds"
_SUCCESS_LINE = re.compile(rf"^{_LAST_SUCCESS}\{{.*\}} [0-9.e+]+$", re.MULTILINE)
_MOST_BYTES = 1 << 20
_LAST_WORDS_SECONDS = 1.0


@dataclass
class Tally:
    """What a run did so far. Rows and splits that an earlier run had finished are in ``rows_reused`` and
    ``splits_reused``; the rows also in their own counts, so that these three add up to the output's rows.
    ``seconds`` are by stage, as in RunReport; ``ended`` is in seconds since 1970."""

    bundle: str
    api: str
    executor: str
    scored: int = 0
    rejected: int = 0
    discarded: int = 0
    rows_reused: int = 0
    splits_scored: int = 0
    splits_reused: int = 0
    retries: int = 0
    deaths: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    exit_code: int = 0
    ended: float = 0.0

    @property
    def rows(self) -> dict[str, int]:
        """Rows by their status."""
        return {"scored": self.scored, "rejected": self.rejected, "discarded": self.discarded}


# -- Prometheus


def check_metrics_file(path: str | Path) -> None:
    """Refuse a metrics file that could not be written, before the run has cost its time.

    Raises:
        OutputError: its folder is not there, or its name is one that node_exporter does not read.
    """
    target = Path(path)
    if target.is_dir():
        return
    if target.suffix != ".prom":
        raise OutputError(
            f"--metrics-file {path}: name a file that ends in .prom, which collectors read, or a directory"
        )
    if not target.absolute().parent.is_dir():
        raise OutputError(f"--metrics-file {path}: No such directory {target.absolute().parent}; make it first")


def write_metrics(path: str | Path, tally: Tally) -> None:
    """Replace the metrics file, whole, with what this run did. A run that failed keeps the time of the last success.

    Raises:
        BentobatchError: it cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{tally.bundle.partition(':')[0]}_{tally.api}")
        target = target / f"bentobatch_{name}.prom"
    earlier = _successes(target) if tally.exit_code else []
    with whole_file(target) as file:
        file.write(metrics_text(tally, earlier).encode())


def metrics_text(tally: Tally, earlier: list[str] | None = None) -> str:
    """The numbers in Prometheus' text format; ``earlier`` are lines of the last success, for a run that had none."""
    own = {"bundle": tally.bundle, "api": tally.api}
    lines: list[str] = []
    for name, text, samples in _families(tally):
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels({**labels, **own})} {value!r}" for labels, value in samples]
    successes = earlier or []
    if not tally.exit_code:
        successes = [f"{_LAST_SUCCESS}{_labels(own)} {round(tally.ended, 3)!r}"]
    if successes:
        lines += [f"# HELP {_LAST_SUCCESS} When the last run that succeeded ended.", f"# TYPE {_LAST_SUCCESS} gauge"]
        lines += successes
    return "\n".join(lines) + "\n"


def _families(tally: Tally) -> Iterator[tuple[str, str, list[tuple[dict[str, str], float]]]]:
    """Name, help and samples. All are gauges: they tell of one run, and the next one begins anew."""
    rows: list[tuple[dict[str, str], float]] = [({"status": status}, count) for status, count in tally.rows.items()]
    seconds: list[tuple[dict[str, str], float]] = [({"stage": stage}, took) for stage, took in tally.seconds.items()]
    yield "bentobatch_run_rows_total", "Rows of the last run, by what became of them.", rows
    yield (
        "bentobatch_run_rows_reused_total",
        "Rows of the last run that an earlier one had scored.",
        [({}, tally.rows_reused)],
    )
    splits: list[tuple[dict[str, str], float]] = [
        ({"status": "scored"}, tally.splits_scored),
        ({"status": "reused"}, tally.splits_reused),
    ]
    yield "bentobatch_run_splits_total", "Finished splits of the last run.", splits
    yield "bentobatch_run_split_retries_total", "Splits that the last run tried again.", [({}, tally.retries)]
    yield "bentobatch_run_worker_deaths_total", "Worker processes that ended in a split.", [({}, tally.deaths)]
    if seconds:
        text = "Seconds of the last run; read, model and write are summed over its workers."
        yield "bentobatch_run_seconds", text, seconds
    failed: list[tuple[dict[str, str], float]] = [({"exit_code": str(tally.exit_code)}, int(tally.exit_code != 0))]
    yield "bentobatch_run_failed", "Whether the last run failed, and how.", failed
    yield "bentobatch_run_end_timestamp_seconds", "When the last run ended.", [({}, round(tally.ended, 3))]


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    shown = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _successes(target: Path) -> list[str]:
    """The lines of the last success in a file that an earlier run wrote."""
    try:
        with target.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return _SUCCESS_LINE.findall(text)


# -- StatsD


class StatsD:
    """Sends counters and timers by UDP, from a thread: a name server that does not answer holds no run up."""

    def __init__(self, address: tuple[str, int], tags: Mapping[str, str] | None = None) -> None:
        self.problem: OSError | None = None
        """Why nothing could be sent."""
        self._address = address
        clean = {name: re.sub(r"[|,\s]", "_", value) for name, value in (tags or {}).items()}
        self._tags = "|#" + ",".join(f"{name}:{value}" for name, value in clean.items()) if clean else ""
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send, daemon=True, name="bentobatch-statsd")
        self._thread.start()

    def count(self, name: str, value: int = 1) -> None:
        """Add to a counter."""
        self._waiting.put(f"bentobatch.{name}:{value}|c{self._tags}")

    def timing(self, name: str, seconds: float) -> None:
        """Tell how long something took; StatsD has it in milliseconds."""
        self._waiting.put(f"bentobatch.{name}:{round(seconds * 1000, 3)}|ms{self._tags}")

    def run_ended(self, tally: Tally) -> None:
        """The numbers of a whole run."""
        self.count("run.failed" if tally.exit_code else "run.succeeded")
        for status, count in tally.rows.items():
            self.count(f"run.rows.{status}", count)
        self.count("run.rows.reused", tally.rows_reused)
        self.count("run.splits.scored", tally.splits_scored)
        self.count("run.splits.reused", tally.splits_reused)
        for stage, seconds in tally.seconds.items():
            self.timing(f"run.time.{stage}", seconds)

    def close(self) -> None:
        """Send what waits, for a second at the most."""
        self._waiting.put(None)
        self._thread.join(_LAST_WORDS_SECONDS)

    def _send(self) -> None:
        try:
            family, _, _, _, place = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                while (line := self._waiting.get()) is not None:
                    sender.sendto(line.encode(), place)
        except OSError as error:  # told by its owner; a run is worth more than its numbers
            self.problem = error


def statsd_address(text: str) -> tuple[str, int] | None:
    """Host and port of ``HOST:PORT``, ``HOST`` or ``[IPV6]:PORT``; None where it is none of them."""
    found = re.fullmatch(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]]+))(?::(?P<port>[0-9]{1,5}))?", text)
    port = int(found["port"] or STATSD_PORT) if found else 0
    return (found["six"] or found["host"], port) if found and 0 < port < 65_536 else None


def statsd_of(tags: Mapping[str, str], environ: Mapping[str, str] | None = None) -> StatsD | None:
    """The StatsD server that the environment names, if it does.

    Raises:
        ValueError: what it says is no address.
    """
    environ = os.environ if environ is None else environ
    text = environ.get(STATSD, "").strip()
    if not text:
        return None
    address = statsd_address(text)
    if address is None:
        raise ValueError(f"{STATSD} is no HOST:PORT: {text!r}")
    return StatsD(address, tags if environ.get(STATSD_TAGS, "").lower() == "dogstatsd" else None)
