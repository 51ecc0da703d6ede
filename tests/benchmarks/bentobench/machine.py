"""This module describes the machine and the libraries that a measurement was made with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

CHECKOUT = Path(__file__).resolve().parents[3]
LIBRARIES = ("bentobatch", "numpy", "pandas", "pyarrow", "scikit-learn", "lightgbm")


def machine() -> dict[str, Any]:
    """Cores, memory, processor, system, and the load before the measurement, which tells whether it was quiet."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def versions(libraries: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """The installed versions of some libraries, ours with its commit; those that are not installed are left out."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "bentobatch" in found and (commit := last_commit()):
        found["bentobatch"] += f" at {commit}"
    return found


def last_commit(checkout: Path = CHECKOUT) -> str:
    """The last commit that changed the package, and whether it was changed since; nothing outside a git checkout."""
    try:
        commit = _git(checkout, "log", "-1", "--format=%h")
        return f"{commit}, changed" if commit and _git(checkout, "status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words, "--", "bentobatch"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
