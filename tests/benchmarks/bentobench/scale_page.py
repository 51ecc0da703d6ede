"""This module writes docs/scaling.md from what scale.py measured; nothing in it is typed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bentobench.render import machine_table, table

SHORTEST = 0.02
"""Seconds of the shortest term whose growth is told."""
SPLITS, SECONDS, MEGABYTES = 100_000, 30.0, 500.0
"""A plan of so many splits must take less time and memory than this."""
TARGET_FILES, TARGET_SPLITS = 100_000, 1_000_000
"""A job of 10 TB in 100,000 files of 100 MB: with ten row groups each, a million splits."""
TERMS = {
    "plan": "plan: every footer opened, splits cut, plan saved",
    "save": "the plan as JSON text",
    "load": "the plan loaded (once in each worker process)",
    "list": "the receipts listed (once at a resume)",
    "commit": "commit: every receipt read, every part checked and put in place",
}


def page(sessions: Mapping[str, Any]) -> str:
    """The page; what was not measured yet says so."""
    parts = ["# Scaling\n\nWritten by `tests/benchmarks/scale.py` from what it measured.\n"]
    plans = sessions.get("PLANS")
    if plans:
        parts += ["## Planning and committing\n", plan_words(plans["plans"], plans["date"])]
    if "LONG" in sessions:
        parts += ["## One long run\n", long_words(sessions["LONG"])]
    if "MEMORY" in sessions:
        parts += ["## An input larger than memory\n", memory_words(sessions["MEMORY"])]
    parts += ["## Machines and versions\n", machine_table(sessions)]
    return "\n".join(parts)


def growth(plans: Sequence[Mapping[str, Any]], term: str) -> str:
    """The exponent between the last two sizes: 1 is linear, 2 quadratic; n log n is a little above 1. Nothing where the
    clock's own noise would be most of it."""
    if len(plans) < 2 or plans[-2][term]["seconds"] < SHORTEST:
        return "–"
    before, after = plans[-2], plans[-1]
    steps = math.log(after["splits"] / before["splits"])
    return f"n^{math.log(after[term]['seconds'] / before[term]['seconds']) / steps:.2f}"


def at_target(plans: Sequence[Mapping[str, Any]], term: str, name: str) -> float:
    """A figure for the large job: the last one, and for each further split what each took from the last size but one to
    the last, so that what does not grow (imports, the model) is not multiplied."""
    after = plans[-1]
    if len(plans) < 2:
        return float(after[term][name] * TARGET_SPLITS / after["splits"])
    before = plans[-2]
    slope = max(0.0, after[term][name] - before[term][name]) / (after["splits"] - before["splits"])
    return float(after[term][name] + slope * (TARGET_SPLITS - after["splits"]))


def plan_words(plans: Sequence[Mapping[str, Any]], date: str) -> str:
    """The terms at each size, their growth, the target, and what a job of 10 TB costs by it."""
    head = ["term", *(f"{one['splits']:,} splits, {one['files']:,} files" for one in plans), "growth at the end"]
    rows = [
        [
            words,
            *(f"{one[term]['seconds']:.2f} s, {one[term]['peak_mb']:,.0f} MB" for one in plans),
            growth(plans, term),
        ]
        for term, words in TERMS.items()
    ]
    rows.append(["size of the plan", *(f"{one['plan']['bytes'] / 1e6:,.1f} MB" for one in plans), ""])
    rows.append(["size of the commit's record", *(f"{one['commit']['record'] / 1e6:,.1f} MB" for one in plans), ""])
    lines = [
        f"{date[:10]}. The number of files, row groups, receipts and parts is real, their content small: the files are links"
        " to a few. Each term ran in a process of its own; its memory is that process's peak, libraries included.\n",
        table(head, rows),
    ]
    for one in plans:
        if one["splits"] == SPLITS:
            took, peak = one["plan"]["seconds"], one["plan"]["peak_mb"]
            met = "met" if took < SECONDS and peak < MEGABYTES else "**missed**"
            target = f"< {SECONDS:g} s and < {MEGABYTES:g} MB"
            lines.append(
                f"A plan of {SPLITS:,} splits must take {target}: it takes {took:.1f} s and {peak:.0f} MB: {met}.\n"
            )
    lines.append(_large_job(plans))
    return "\n".join(lines)


def _large_job(plans: Sequence[Mapping[str, Any]]) -> str:
    """What a job of 10 TB costs, by the sizes measured."""
    last = plans[-1]
    how = "measured above"
    if last["splits"] != TARGET_SPLITS:
        how = (
            f"reckoned from {last['splits'] / TARGET_SPLITS:.3g} of it, the largest size above, and from what each further"
            " split took between the last two sizes"
        )
    receipts = TARGET_SPLITS * last["parts"]["receipt"]
    rows = [[words, f"{at_target(plans, term, 'seconds'):,.0f} s"] for term, words in TERMS.items()]
    rows += [
        ["size of the plan", f"{at_target(plans, 'plan', 'bytes') / 1e6:,.0f} MB"],
        ["size of all receipts, while the run goes on", f"{receipts / 1e6:,.0f} MB"],
        ["size of the commit's record", f"{at_target(plans, 'commit', 'record') / 1e6:,.0f} MB"],
        ["memory of the planning process", f"{at_target(plans, 'plan', 'peak_mb'):,.0f} MB"],
        ["memory of the committing process", f"{at_target(plans, 'commit', 'peak_mb'):,.0f} MB"],
    ]
    return (
        f"A job of 10 TB in {TARGET_FILES:,} files ({TARGET_SPLITS:,} splits of 10 MB) costs, beside reading and scoring,"
        f" and with the files on a local disk ({how}):\n\n" + table(["term", "cost"], rows)
    )


def long_words(one: Mapping[str, Any]) -> str:
    """The long run."""
    stages = ", ".join(f"{name} {seconds:,.1f}" for name, seconds in one["seconds"].items())
    return (
        f"{one['date'][:10]}: {one['rows']:,} rows in {one['files']} files (hard links to one), {one['splits']:,} splits:"
        f" {one['wall']:,.0f} s, {one['rows'] / one['wall']:,.0f} rows/s, {one['cpu']:,.0f} s of CPU, peak memory of the"
        f" process tree {one['peak_mb']:,.0f} MB (PSS, sampled). Others took {one['others']:.0%} of the cores."
        f" Seconds by stage: {stages}.\n"
    )


def memory_words(one: Mapping[str, Any]) -> str:
    """The run under a limit."""
    return (
        f"{one['date'][:10]}: {one['bytes'] / 2**30:.2f} GiB of wide texts ({one['rows']:,} rows) were scored to their end"
        f" under {one['how']}, by {one['workers']} workers ({one['executor']}): {one['wall']:,.0f} s, peak memory of the"
        f" process tree {one['peak_mb']:,.0f} MB (PSS, sampled; a control group does not charge pages of libraries that"
        " other processes had in memory before).\n"
    )
