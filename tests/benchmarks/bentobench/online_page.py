"""This module writes the section of docs/performance.md about online servers; nothing in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bentobench.online_session import LEVELS
from bentobench.online_targets import Target, targets
from bentobench.render import machine_table, table
from bentobench.stats import middle, speed_ratio

Sessions = Mapping[str, Any]
TITLES = {
    "S1": "S1: a logistic regression, where the server costs more than the model",
    "S2": "S2: a random forest, whose call costs the same for one row and for many",
}
ABOUT = """## Online servers

Written by `make bench-online`. Each request is one row of 20 features as JSON, over kept connections on this machine's
loopback; the load generator takes its share of the same cores. The servers run in turn, in an order that changes every
round, each started anew and warmed up in each round; figures are medians over the rounds. In each round 1, 64 and 256
connections send one request after the other, and then 1 again, each time after the server has come to rest (10 s at
most). CPU is user and system time of the server's whole process tree for each request. While there are many connections,
one more asks for known rows, and every answer to it is compared with the model's.

Ours is `bentobatch serve-gunicorn` as it is by default (one worker), and with gunicorn's own `gthread` workers (2). Where a
server can batch by itself it does (BentoML, LitServe); Flask and FastAPI call the model for each request.
"""


def section(sessions: Sessions) -> str:
    """The section; what was not measured says so."""
    parts = [ABOUT]
    for key, title in TITLES.items():
        if key in sessions:
            parts += [f"### {title}\n", _when(sessions[key]), _table(sessions[key]), *_failures(sessions[key])]
    parts += ["### Targets of the online servers\n", _target_table(targets(sessions))]
    parts += ["### Machine and versions of the online servers\n", machine_table(sessions)]
    return "\n".join(parts)


def _when(session: Mapping[str, Any]) -> str:
    checked = sum(kept["checked"] for run in session["runs"].values() for kept in run["levels"].values())
    return (
        f"{session['date'][:10]}, {session['rounds']} rounds of {session['seconds']:g} s for each number of connections, by"
        f" {session['generator']}; {checked:,} answers compared. Requests/s · p50 in ms · p99 in ms · CPU in µs.\n"
    )


def _table(session: Mapping[str, Any]) -> str:
    names = {level: f"{level} connections" for level in LEVELS} | {"1": "1 connection", "1, after": "1, after the 256"}
    runs = {name: run for name, run in session["runs"].items() if "failed" not in run}
    mine = next((run for name, run in runs.items() if name == "bentobatch"), None)
    rows = []
    for name, run in runs.items():
        theirs, ours = run["levels"]["64"]["rate"], mine["levels"]["64"]["rate"] if mine else []
        ratio = speed_ratio(theirs, ours)  # of rates, so the other way round than of seconds
        rows.append(
            [
                f"**{name}**" if name.startswith("bentobatch") else name,
                *(_cell(run["levels"][level]) for level in LEVELS),
                f"{middle(run['memory_mb']):,.0f}",
                f"{ratio:,.2f} ×" if ratio is not None else "–",
            ]
        )
    return table(["server", *names.values(), "memory, MB", "bentobatch at 64 beside it"], rows)


def _cell(kept: Mapping[str, Any]) -> str:
    rate, p50, p99, cpu = (middle(kept[name]) or 0.0 for name in ("rate", "p50", "p99", "cpu_us"))
    bad = kept["failed"] + kept["cut_off"]
    told = f"{rate:,.0f} · {p50:.2f} · {p99:.2f} · {cpu:,.0f}"
    return f"{told} ({bad:,} failed)" if bad else told


def _failures(session: Mapping[str, Any]) -> list[str]:
    return [f"{name}: did not run: {run['failed']}\n" for name, run in session["runs"].items() if "failed" in run]


def _target_table(rows: list[Target]) -> str:
    return table(
        ["work", "target", "measured", "met"],
        [
            [row.work, row.text, f"{row.value:,.2f}{row.unit}" if row.value is not None else "–", _verdict(row)]
            for row in rows
        ],
    )


def _measured(row: Target) -> str:
    return "–" if row.value is None else f"{row.value:,.2f}{row.unit}"


def _verdict(row: Target) -> str:
    if row.met is None:
        return "–"
    return "met" if row.met else "**missed**"
