"""This module writes docs/performance.md and its chart from what was measured; nothing in them is typed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bentobench import chart, results
from bentobench.machine import machine, versions
from bentobench.results import peers_key
from bentobench.sections import with_section_of
from bentobench.stats import middle, speed_ratio, spread
from bentobench.targets import Target, targets
from bentobench.workloads import BUILDERS, EVERYTHING

Sessions = Mapping[str, Any]
ABOUT = """# Performance

This page and its chart are written by `make bench` and `make bench-peers` from what they measured, and only when all
workloads were; each table says when, and the last one on what and with which versions. Every figure is of whole
processes, from start to end, start-up included. Runners of one table ran in turn, in an order that changes every round;
seconds, CPU and memory are medians over the rounds, and ratios are medians of each round's ratio. CPU is user and
system time of the whole process tree. Peak memory is the sum of PSS (proportional set size) over the process tree,
sampled 50 times a second in runs of their own, since sampling slows them. Every output is compared with the first
loop's: row count, ids in order (of engines that write out of order: sorted), predictions. bentobatch runs with all its
promises on: parts, receipts, fsync, checksums, all-or-nothing commit, and it resumes after a kill; the loops and the
other engines promise none of that.

"Others" is the share of the machine's cores that other processes and machines took during the runs: where it is
not near 0, the machine was not quiet.

![The same as a chart](performance.svg)
"""


def publish(kept: Path, docs: Path, *, anyway: bool, tell: Callable[[str], None] = print) -> bool:
    """Write the page from the results that are kept, if all of them were measured here with these versions, or
    ``anyway``; whether it was written."""
    sessions = results.load(kept)
    lacking = results.lacking(sessions, EVERYTHING, {"machine": machine(), "versions": versions()})
    if lacking and not anyway:
        tell(f"{docs / 'performance.md'} stays as it is (bench.py --render writes it anyway), for lack of:")
        tell("".join(f"  {words}\n" for words in lacking).rstrip())
        return False
    write(sessions, docs, list(BUILDERS))
    tell(f"wrote {docs / 'performance.md'} and performance.svg from {kept}")
    return True


def write(sessions: Sessions, docs: Path, names: Sequence[str]) -> None:
    """Both files, in the folder ``docs``."""
    docs.mkdir(parents=True, exist_ok=True)
    path = docs / "performance.md"
    old = path.read_text() if path.exists() else ""
    path.write_text(with_section_of(old, page(sessions, names)))
    (docs / "performance.svg").write_text(chart.draw(sessions, names))


def page(sessions: Sessions, names: Sequence[str]) -> str:
    """The page: targets, then each workload, then the extras and the machines."""
    parts = [ABOUT, "## Targets\n", target_table(targets(sessions)), "## Workloads\n"]
    for name in names:
        for key, heading in ((name, name), (peers_key(name), f"{name} beside other engines")):
            if key in sessions:
                parts += [f"### {heading}: {sessions[key]['title']}\n", workload_table(sessions[key])]
    if "RESUME" in sessions:
        parts += ["### Resume\n", resume_words(sessions["RESUME"])]
    parts += ["## Machines and versions\n", machine_table(sessions)]
    return "\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def target_table(rows: Sequence[Target]) -> str:
    """Every target with what was measured, and by how much it is missed."""
    return table(
        ["work", "target", "measured", "met", "date"],
        [[row.work, row.text, _value(row), _verdict(row), row.date or "–"] for row in rows],
    )


def _value(row: Target) -> str:
    return f"{row.value:.2f}{row.unit}" if row.value is not None else f"– ({row.why})"


def _verdict(row: Target) -> str:
    if row.met is None:
        return "–"
    return "met" if row.met else f"**missed by {row.short:.0%}**"


def workload_table(session: Mapping[str, Any]) -> str:
    """All runners of a session, the fastest first, and what stages ours spent its time in."""
    runs = session["runs"]
    good = {name: run for name, run in runs.items() if run["wall"] and "failed" not in run}
    mine = next((run for run in good.values() if run["kind"] == "ours"), None)
    order = sorted(good.items(), key=lambda item: middle(item[1]["wall"]) or 0.0)
    rows = [
        [
            f"**{name}**" if run["kind"] == "ours" else name,
            _seconds(middle(run["wall"])),
            _percent(spread(run["wall"])),
            _seconds(middle(run["cpu"])),
            _megabytes(middle(run["peak_mb"])),
            _ratio(speed_ratio(mine["wall"], run["wall"]) if mine else None),
        ]
        for name, run in order
    ]
    head = ["runner", "wall, s", "spread", "CPU, s", "peak, MB", "bentobatch's speed beside it"]
    parts = [f"{_when(session)}\n", table(head, rows)]
    if mine and mine.get("report"):
        parts.append(_stages(mine["report"]))
    parts += [f"{name}: {_reason(run['failed'])}\n" for name, run in runs.items() if "failed" in run]
    return "\n".join(parts)


def _when(session: Mapping[str, Any]) -> str:
    others = middle([share for run in session["runs"].values() for share in run.get("others", [])])
    quiet = f"; others took {others:.0%} of the cores" if others is not None else ""
    return f"{session['date'][:10]}, {session['rounds']} rounds{quiet}."


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "did not run: " + (lines[0] if len(lines) == 1 else f"{lines[0]} … {lines[-1][:300]}")


def _stages(report: Mapping[str, Any]) -> str:
    clocks = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in report.get("seconds", {}).items())
    why = f"executor {report.get('executor')} ({report.get('executor_reason')}), {report.get('workers')} workers"
    return f"The last run of ours: {why}. Seconds: {clocks}; read, model and write are summed over the workers.\n"


def resume_words(found: Mapping[str, Any]) -> str:
    """What a resumed run took."""
    return (
        f"{found['date'][:10]}: a run of {found['rows']:,} rows (links to W1L's file) was killed (SIGKILL to its whole"
        f" process group) with {found['reused']:.1%} of its splits finished, and started again: {found['resumed']:.2f} s."
        f" The whole run takes {found['whole']:.2f} s, one of 1,000 rows {found['start']:.2f} s."
        f" Medians of {found['rounds']} rounds.\n"
    )


def machine_table(sessions: Sessions) -> str:
    """The distinct machines and versions of all sessions."""
    seen: dict[str, list[str]] = {}
    for key, session in sessions.items():
        machine, versions = session.get("machine"), session.get("versions")
        if not machine:
            continue
        words = (
            f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['processor']}, {machine['system']}, "
            f"Python {machine['python']}; " + ", ".join(f"{name} {number}" for name, number in versions.items())
        )
        seen.setdefault(words, []).append(f"{key} ({session['date'][:10]})")
    return table(["measured", "on"], [[", ".join(keys), words] for words, keys in seen.items()])


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _megabytes(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} ×"
