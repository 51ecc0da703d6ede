"""This module holds what the online servers are to reach, beside others in the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bentobench.online_servers import BENTOML, FASTAPI, FLASK, LITSERVE, MINE
from bentobench.stats import middle, speed_ratio

Sessions = Mapping[str, Any]
OWN, GTHREAD = MINE
RATES = {
    "S1": {FLASK: 15.0, FASTAPI: 20.0, BENTOML: 60.0, LITSERVE: 35.0},
    "S2": {FLASK: 25.0, FASTAPI: 35.0, BENTOML: 8.0, LITSERVE: 6.0},
}
FALLBACK = {"S1": 1.8, "S2": 8.0}
CPU_US = {"S1": 45.0, "S2": 400.0}


@dataclass(frozen=True)
class Target:
    """``met`` is None where it was not measured."""

    work: str
    text: str
    value: float | None
    unit: str
    met: bool | None


def targets(sessions: Sessions) -> list[Target]:
    """All of them, with what was measured."""
    found: list[Target] = []
    for work, wanted in RATES.items():
        runs = _runs(sessions, work)
        for peer, factor in wanted.items():
            ratio = _times(runs, OWN, peer, "64", "rate")
            found.append(_least(work, f"64 connections: {factor:g} × the requests/s of {peer}", ratio, factor))
        factor = FALLBACK[work]
        ratio = _times(runs, GTHREAD, FLASK, "64", "rate")
        found.append(_least(work, f"64 connections: {GTHREAD} {factor:g} × the requests/s of {FLASK}", ratio, factor))
        cpu = middle(_values(runs, OWN, "64", "cpu_us"))
        most = CPU_US[work]
        found.append(_most(work, f"64 connections: CPU of a request at most {most:g} µs", cpu, most, " µs"))
        found += _single(work, runs)
    return found


def _single(work: str, runs: Mapping[str, Any]) -> list[Target]:
    after = _times(runs, OWN, OWN, "1, after", "p50", beside="1")
    burst = _most(work, "1 connection: p50 after the burst of 256 at most 1.2 × that before", after, 1.2, " ×")
    if work == "S1":
        ratio = _times(runs, OWN, FLASK, "1", "rate")
        return [_least(work, f"1 connection: 1.5 × the requests/s of {FLASK}", ratio, 1.5), burst]
    slower = _times(runs, OWN, FLASK, "1", "p50")
    return [_most(work, f"1 connection: p50 no more than that of {FLASK} (within 2%)", slower, 1.02, " ×"), burst]


def _runs(sessions: Sessions, work: str) -> Mapping[str, Any]:
    runs = sessions.get(work, {}).get("runs", {})
    return {name: run for name, run in runs.items() if "failed" not in run}


def _values(runs: Mapping[str, Any], name: str, level: str, field: str) -> Sequence[float]:
    found: Sequence[float] = runs[name]["levels"][level][field] if name in runs else []
    return found


def _times(
    runs: Mapping[str, Any], mine: str, other: str, level: str, field: str, *, beside: str | None = None
) -> float | None:
    """The median over the rounds of mine divided by the other's."""
    return speed_ratio(_values(runs, other, beside or level, field), _values(runs, mine, level, field))


def _least(work: str, text: str, value: float | None, least: float) -> Target:
    return Target(work, text, value, " ×", None if value is None else value >= least)


def _most(work: str, text: str, value: float | None, most: float, unit: str) -> Target:
    return Target(work, text, value, unit, None if value is None else value <= most)
