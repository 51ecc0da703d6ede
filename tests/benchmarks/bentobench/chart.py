"""This module draws docs/performance.svg: for each workload a bar for every runner, shorter is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bentobench.results import peers_key
from bentobench.stats import middle
from bentobench.targets import runs_of

COLOURS = {"ours": "#1b6ca8", "loop": "#9aa5b1", "peer": "#d9a05b"}
WIDTH, LABEL, ROW, GAP = 860, 260, 18, 34
Bar = tuple[str, str, float]


def bars(sessions: Mapping[str, Any], name: str) -> list[Bar]:
    """(runner, kind, seconds) of a workload, fastest first; a peer's from the session beside the peers."""
    found = {run: (one["kind"], middle(one["wall"])) for run, one in runs_of(sessions, name).items()}
    peers = runs_of(sessions, peers_key(name), kind="peer")
    found.update({run: ("peer", middle(one["wall"])) for run, one in peers.items()})
    made = [(run, kind, seconds) for run, (kind, seconds) in found.items() if seconds and not _by_hand(run, kind)]
    return sorted(made, key=lambda bar: bar[2])


def draw(sessions: Mapping[str, Any], names: Sequence[str]) -> str:
    """The chart as SVG; workloads that were not measured are left out."""
    parts: list[str] = []
    top = 44.0
    for name in names:
        rows = bars(sessions, name)
        if not rows:
            continue
        title = sessions.get(name, {}).get("title") or sessions[peers_key(name)]["title"]
        parts.append(_text(16, top, f"{name}: {title}", weight="bold"))
        top += 10
        longest = max(seconds for _, _, seconds in rows)
        for row in rows:
            parts.append(_bar(row, top, longest))
            top += ROW
        top += GAP
    legend = "".join(
        f'<rect x="{16 + 210 * index}" y="10" width="12" height="12" fill="{COLOURS[kind]}"/>'
        + _text(34 + 210 * index, 20, words)
        for index, (kind, words) in enumerate(
            [("ours", "bentobatch"), ("loop", "hand-written loop"), ("peer", "other engine")]
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top:.0f}" viewBox="0 0 {WIDTH} {top:.0f}"'
        f' font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{legend}\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _by_hand(run: str, kind: str) -> bool:
    return kind == "ours" and "," in run


def _bar(row: Bar, top: float, longest: float) -> str:
    name, kind, seconds = row
    length = (WIDTH - LABEL - 80) * seconds / longest
    return (
        _text(LABEL - 8, top + 12, name, anchor="end")
        + f'<rect x="{LABEL}" y="{top:.1f}" width="{length:.1f}" height="{ROW - 4}" fill="{COLOURS[kind]}"/>'
        + _text(LABEL + length + 6, top + 12, f"{seconds:.2f} s")
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="#222">{escape(words)}</text>'
