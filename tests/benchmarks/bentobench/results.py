"""This module keeps what was measured: one JSON file, of which a partial run replaces only its own entries.

An entry is a session: all runners of one workload, interleaved on one machine on one day. Sessions are replaced whole, since
ratios hold only between runs of the same session. ``history.jsonl`` beside it keeps every session ever measured.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT = 1


def results_file(root: Path, scale: float) -> Path:
    """Where results of a scale are kept: trials on small data never come among the real ones."""
    return root / "results" / ("results.json" if scale == 1 else f"results-scale-{scale:g}.json")


def load(path: Path) -> dict[str, Any]:
    """The sessions by their keys; none if nothing was measured yet."""
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    if found.get("format") != FORMAT:
        raise SystemExit(f"{path} is of another format than {FORMAT}: move it away and measure again")
    sessions: dict[str, Any] = found["sessions"]
    return sessions


def store(path: Path, key: str, session: dict[str, Any]) -> dict[str, Any]:
    """Put one session among the others, at once; all sessions."""
    sessions = {**load(path), key: session}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps({"format": FORMAT, "sessions": sessions}, indent=1))
    os.replace(temporary, path)
    with path.with_name("history.jsonl").open("a") as file:
        file.write(json.dumps({"key": key, "file": path.name, **session}) + "\n")
    return sessions


def lacking(sessions: Mapping[str, Any], names: Sequence[str], here: Mapping[str, Any]) -> list[str]:
    """What keeps the sessions from being one measurement: those not there, and those of other versions or another machine
    than ``here``, which is what a session keeps as its machine and versions."""
    found = []
    for name in names:
        if name not in sessions:
            found.append(f"{name} (not measured)")
        elif _conditions(sessions[name]) != _conditions(here):
            found.append(f"{name} (measured with other versions or on another machine)")
    return found


def _conditions(session: Mapping[str, Any]) -> tuple[Any, Any]:
    machine = {name: value for name, value in session["machine"].items() if name != "load"}
    return machine, session["versions"]


def peers_key(workload: str) -> str:
    """The key of the session in which a workload was run beside the peers."""
    return f"{workload} peers"
