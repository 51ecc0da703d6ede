"""This module compares what was measured with what bentobatch must show, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bentobench.results import peers_key
from bentobench.stats import middle, speed_ratio

Sessions = Mapping[str, Any]
BENTOML_CSV_CPU = 143.0
"""CPU seconds of BentoML 0.13.1's ``bentoml run`` on a CSV file of 1e6 × 20: a fixed figure, measured once elsewhere."""
AUTO = ("W1", "W1L", "W2", "W3", "SMALL", "CSV", "JSON", "FILES", "WIDE", "PYTHON", "IMAGES")
CLOCKS = ("checksum", "fsync", "receipts", "rejects")
"""The clocks of a run report that hold the price of the promises, where a report has them."""


@dataclass(frozen=True)
class Target:
    """One row of the table. ``limit`` is the least value of ``value`` where ``least``, else the most; ``value`` None was not
    measured, and ``why`` says why. ``short`` is by how much it is missed, as a share of the limit."""

    work: str
    text: str
    limit: float
    value: float | None
    least: bool = True
    unit: str = ""
    why: str = ""
    date: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target holds; None if that is not known."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit

    @property
    def short(self) -> float:
        """By which share of the limit it is missed; 0 if it is met."""
        if self.value is None or self.met:
            return 0.0
        return abs(self.value - self.limit) / self.limit


def runs_of(sessions: Sessions, key: str, *, kind: str | None = None) -> dict[str, Any]:
    """The runs of a session that ended well, of one kind if asked for."""
    runs = sessions.get(key, {}).get("runs", {})
    return {
        name: run
        for name, run in runs.items()
        if run["wall"] and "failed" not in run and (kind is None or run["kind"] == kind)
    }


def ours_of(sessions: Sessions, key: str, place: str = "dir") -> dict[str, Any] | None:
    """Ours with ``--executor auto``, to a directory or to a file."""
    return runs_of(sessions, key, kind="ours").get(f"bentobatch → {place}")


def best(runs: Mapping[str, Any], measure: str = "wall") -> tuple[str, Any] | None:
    """The run with the least median."""
    return min(runs.items(), key=lambda item: middle(item[1][measure]) or 0.0) if runs else None


def beside_best(
    sessions: Sessions, key: str, place: str, limit: float, against: str, *, one_file: bool = False, kind: str = "loop"
) -> Target:
    """Ours beside the fastest runner of a kind, in speed."""
    runs = runs_of(sessions, key, kind=kind)
    if one_file:
        runs = {name: run for name, run in runs.items() if run["one_file"]}
    mine, rival = ours_of(sessions, key, place), best(runs)
    work = key.removesuffix(" peers")
    text = f"to a {'directory' if place == 'dir' else 'file'}, speed ≥ {limit:g} × {against}"
    if mine is None or rival is None:
        return Target(work, text, limit, None, why="not measured", unit="×")
    value = speed_ratio(mine["wall"], rival[1]["wall"])
    return Target(work, f"{text} ({rival[0]})", limit, value, unit="×", date=_date(sessions, key))


def beside(sessions: Sessions, key: str, name: str, limit: float, place: str = "dir") -> Target:
    """Ours beside one runner, in speed."""
    text = f"speed ≥ {limit:g} × {name}"
    rival, mine = runs_of(sessions, key).get(name), ours_of(sessions, key, place)
    work = key.removesuffix(" peers")
    if rival is None or mine is None:
        failed = sessions.get(key, {}).get("runs", {}).get(name, {}).get("failed")
        return Target(work, text, limit, None, why=failed.splitlines()[0] if failed else "not measured", unit="×")
    value = speed_ratio(mine["wall"], rival["wall"])
    return Target(work, text, limit, value, unit="×", date=_date(sessions, key))


def targets(sessions: Sessions) -> list[Target]:
    """Every row of the table, in its order."""
    rows: list[Target] = []
    for name in ("W1", "W1L", "W2", "W3"):
        rows.append(beside_best(sessions, name, "dir", 0.95, "the best hand loop"))
        rows.append(beside_best(sessions, name, "file", 0.95, "the best one-file loop", one_file=True))
        rows.append(beside_best(sessions, peers_key(name), "file", 1.0, "the best peer", kind="peer"))
    for name, limit in (("W1", 8.0), ("W2", 2.5)):
        rows += [beside(sessions, peers_key(name), peer, limit) for peer in ("Ray Data", "Spark", "MLflow")]
    rows.append(beside_best(sessions, "PYTHON", "dir", 1.8, "one process"))
    for make in _SINGLE:
        rows += make(sessions)
    rows += [auto_beside_hand(sessions, name) for name in AUTO]
    return rows


def small(sessions: Sessions) -> list[Target]:
    """1,000 rows."""
    runs, mine = runs_of(sessions, "SMALL", kind="loop"), ours_of(sessions, "SMALL")
    bare = runs.get("bare script")
    value = None
    if mine and bare:
        ratio = speed_ratio(mine["wall"], bare["wall"])
        value = 1 / ratio if ratio else None
    return [_most(sessions, "SMALL", "wall ≤ 1.3 × the bare script's", 1.3, value, "×")]


def text_files(sessions: Sessions) -> list[Target]:
    """CSV and JSON lines."""
    mine = ours_of(sessions, "CSV")
    cpu = middle(mine["cpu"]) if mine else None
    text = f"CPU ≤ 1/50 of BentoML 0.13.1's {BENTOML_CSV_CPU:g} s"
    return [
        Target(
            "CSV",
            text,
            50,
            BENTOML_CSV_CPU / cpu if cpu else None,
            unit="×",
            why="not measured",
            date=_date(sessions, "CSV"),
        ),
        beside_best(sessions, "CSV", "dir", 0.9, "pyarrow.csv + predict"),
        beside_best(sessions, "JSON", "dir", 0.9, "pyarrow.json + predict"),
    ]


def memory(sessions: Sessions) -> list[Target]:
    """Peak memory."""
    large, usual = (_peak(ours_of(sessions, name)) for name in ("W1L", "W1"))
    loop = _peak(runs_of(sessions, "W1L", kind="loop").get("2 threads, tuned"))
    growth = large / usual - 1 if large and usual else None
    return [
        _most(sessions, "W1L", "peak memory ≤ 1.1 × W1's", 1.1, None if growth is None else 1 + growth, "×"),
        _most(
            sessions,
            "W1L",
            "peak memory ≤ 1.3 × the tuned two-thread loop's",
            1.3,
            large / loop if large and loop else None,
            "×",
        ),
    ]


def small_files(sessions: Sessions) -> list[Target]:
    """4,000 small files."""
    mine = ours_of(sessions, "FILES")
    planning = mine["report"].get("seconds", {}).get("plan") if mine else None
    return [
        _most(sessions, "FILES", "planning < 5 s", 5, planning, " s"),
        beside_best(sessions, "FILES", "dir", 0.8, "the loop over the files"),
    ]


def resume(sessions: Sessions) -> list[Target]:
    """A run that was killed when it was nearly done."""
    found = sessions.get("RESUME", {})
    allowed, took = found.get("allowed"), found.get("resumed")
    text = "resume of a run that is 99 % done ≤ start-up + 2 % of the run"
    if not allowed or not took:
        return [_most(sessions, "RESUME", text, 1, None, " s")]
    share = (
        f", {allowed:.2f} s (start-up {found['start']:.2f} s, run {found['whole']:.2f} s, {found['reused']:.1%} done)"
    )
    return [_most(sessions, "RESUME", text + share, allowed, took, " s")]


def own_share(sessions: Sessions) -> list[Target]:
    """What the promises cost: the clocks of checksums, fsync, receipts and rejects, summed over the workers."""
    text = "checksums, fsync, receipts, rejects: together < 3 % of W1L"
    mine = ours_of(sessions, "W1L")
    seconds = mine["report"].get("seconds", {}) if mine else {}
    clocks = [seconds[name] for name in CLOCKS if name in seconds]
    if mine is None or not clocks:
        why = "not measured" if mine is None else f"the report has none of the clocks {', '.join(CLOCKS)}"
        return [Target("W1L", text, 3, None, least=False, unit=" %", why=why)]
    share = 100 * sum(clocks) / (seconds["total"] * mine["report"].get("workers", 1))
    return [_most(sessions, "W1L", text, 3, share, " %")]


def auto_beside_hand(sessions: Sessions, key: str) -> Target:
    """``--executor auto`` beside the best choice by hand."""
    text = "--executor auto: ≤ 1.1 × the wall of the best choice by hand"
    runs = runs_of(sessions, key, kind="ours")
    mine = runs.get("bentobatch → dir")
    by_hand = best({name: run for name, run in runs.items() if "," in name})
    if mine is None or by_hand is None:
        return Target(key, text, 1.1, None, least=False, unit="×", why="not measured")
    ratio = speed_ratio(mine["wall"], by_hand[1]["wall"])
    choice = by_hand[0].rpartition(", ")[2]
    picked = mine["report"].get("executor", "?")
    return _most(
        sessions, key, f"{text} (auto took {picked}, the best is {choice})", 1.1, 1 / ratio if ratio else None, "×"
    )


_SINGLE: tuple[Callable[[Sessions], list[Target]], ...] = (small, text_files, memory, small_files, resume, own_share)


def _most(sessions: Sessions, key: str, text: str, limit: float, value: float | None, unit: str) -> Target:
    return Target(
        key, text, limit, value, least=False, unit=unit, why="not measured", date=_date(sessions, key) if value else ""
    )


def _peak(run: Mapping[str, Any] | None) -> float | None:
    return middle(run["peak_mb"]) if run else None


def _date(sessions: Sessions, key: str) -> str:
    return str(sessions.get(key, {}).get("date", ""))[:10]
