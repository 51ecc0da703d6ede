"""This module records a profile of bentobatch on a workload with py-spy, where that is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bentobench.runners import ours
from bentobench.workloads import Workload, scratch


def profile_workload(work: Workload, root: Path) -> Path | None:
    """A speedscope file of one run, all processes and native frames in it; None, and a line, without py-spy."""
    tool = shutil.which("py-spy")
    if tool is None:
        print("no profile: py-spy is not on the PATH (uv tool install py-spy)")
        return None
    target = root / "results" / f"profile-{work.name}.speedscope.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    runner = ours(work, scratch(root), "dir")
    runner.fresh()
    words = [tool, "record", "--subprocesses", "--native", "--rate", "200", "--format", "speedscope"]
    done = subprocess.run([*words, "--output", str(target), "--", *runner.command], capture_output=True, text=True)
    runner.fresh()
    if done.returncode:
        print(f"no profile: py-spy ended with {done.returncode}: {done.stderr[-500:]}")
        return None
    print(f"profile: {target} (open it at speedscope, or with py-spy's own viewers)")
    return target
