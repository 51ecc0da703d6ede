"""This module shows a plan that was made and not run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bentobatch.cli.text import printable

MOST_SHOWN = 20
"""Files or columns that are listed by name; of the others the number is told."""

_SHOWN = {
    *("plan_id", "bundle", "api", "files", "rows", "splits", "rows_done", "splits_done", "committed", "features"),
    *("feature_rule", "columns_read", "kept", "output", "output_format", "output_schema"),
}
"""The keys that have a line of their own kind; any other is shown as it is."""


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """The plan that ``runs.describe`` gave, as printable lines."""
    width = max(9, *(len(key) for key in plan if key not in _SHOWN)) + 2
    return [f"{printable(name):<{width}}{printable(text)}".rstrip() for name, text in _rows(plan)]


def _rows(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "plan", f"{plan['plan_id']} (a dry run: nothing was scored)"
    yield "bundle", f"{plan['bundle']}, api {plan['api']}"
    files: Sequence[Any] = plan["files"]
    yield "files", f"{len(files):,}"
    for file in files[:MOST_SHOWN]:
        yield "", _file(file)
    if len(files) > MOST_SHOWN:
        yield "", f"and {len(files) - MOST_SHOWN:,} more"
    yield "rows", f"{plan['rows']:,} in {_counted(plan['splits'], 'splits')}"
    yield "done", _done(plan)
    yield "features", f"{_listed(plan['features'])} ({plan['feature_rule']})"
    yield "reads", _listed(plan["columns_read"])
    if plan["kept"]:
        yield "keeps", _listed(plan["kept"])
    yield "output", f"{plan['output'] or 'standard output'} ({plan['output_format']})"
    yield "", _listed(plan["output_schema"])
    for key, value in plan.items():
        if key not in _SHOWN and value not in (None, "", [], {}):
            yield key.replace("_", " "), _listed(value) if isinstance(value, (list, dict)) else str(value)


def _done(plan: Mapping[str, Any]) -> str:
    if plan["committed"]:
        return "all of it; the output stands"
    if not plan["splits_done"]:
        return "nothing yet"
    return f"{_counted(plan['rows_done'], 'rows')} in {_counted(plan['splits_done'], 'splits')}, by an earlier run"


def _file(file: Mapping[str, Any]) -> str:
    facts = [
        _counted(value, key) if isinstance(value, int) else str(value) for key, value in file.items() if key != "path"
    ]
    return f"{file['path']} ({', '.join(facts)})"


def _counted(number: int, things: str) -> str:
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def _listed(values: Any) -> str:
    if isinstance(values, Mapping):
        values = [f"{name}: {kind}" for name, kind in values.items()]
    shown = ", ".join(str(value) for value in values[:MOST_SHOWN]) or "none"
    return f"{shown} and {len(values) - MOST_SHOWN:,} more" if len(values) > MOST_SHOWN else shown
