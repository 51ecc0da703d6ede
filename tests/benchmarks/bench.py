"""This module is ``make bench``: it makes the data, runs bentobatch in turn with the hand loops, and saves what it saw.

    bench.py --only W1,W1L --rounds 5

Without ``--only`` it measures everything. Results go to bench/results, where a partial run replaces only its own. From
there they go into docs/performance.md and its chart as soon as all workloads were measured here with these versions, or
whatever there is with ``--render``. Trials (``--scale``, ``--runners``) never come among the results.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from bentobench import measure, render, results  # noqa: E402 - found beside this script
from bentobench.checks import WrongOutput  # noqa: E402
from bentobench.profiling import profile_workload  # noqa: E402
from bentobench.resume import measure_resume  # noqa: E402
from bentobench.runners import runners  # noqa: E402
from bentobench.session import Failed, measure_workload, print_summary  # noqa: E402
from bentobench.workloads import EVERYTHING, Size, build, scratch  # noqa: E402

CHECKOUT = HERE.parents[1]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"workloads, with commas between them [{','.join(EVERYTHING)}]")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds [5]")
    parser.add_argument("--memory-rounds", type=int, default=1, help="further rounds that sample memory [1]")
    parser.add_argument(
        "--data", type=Path, default=CHECKOUT / "bench", help="where data and results are kept [bench/]"
    )
    parser.add_argument("--docs", type=Path, help="where the page goes [docs/; with --scale: beside the results]")
    parser.add_argument("--scale", type=float, default=1.0, help="sizes beside the full ones, to try things [1]")
    parser.add_argument("--executors", help="of ours, with commas [each workload's own]; nothing is saved")
    parser.add_argument("--runners", help="only runners whose names hold one of these texts; nothing is saved")
    parser.add_argument("--render", action="store_true", help="write the page from the results there are, run nothing")
    parser.add_argument(
        "--profile", action="store_true", help="record a py-spy profile of ours as well, where it is found"
    )
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    asked.only = [name for name in asked.only.split(",") if name] or list(EVERYTHING)
    if unknown := sorted(set(asked.only) - set(EVERYTHING)):
        parser.error(f"unknown workload {', '.join(unknown)}; known are {', '.join(EVERYTHING)}")
    return asked


def main() -> None:
    """Measure what was asked for, saving after every workload."""
    asked = options()
    measure.become_reaper()
    size = Size(asked.data, asked.scale)
    kept = results.results_file(asked.data, asked.scale)
    broken: list[str] = []
    if not asked.render:
        for name in asked.only:
            try:
                broken += one_workload(name, size, asked, kept)
            except (Failed, WrongOutput) as error:
                print(f"{name}: {error}")
                broken.append(name)
        shutil.rmtree(scratch(asked.data))
    docs = asked.docs or (CHECKOUT / "docs" if asked.scale == 1 else kept.with_suffix(""))
    render.publish(kept, docs, anyway=asked.render or asked.scale != 1)
    if broken:
        sys.exit(f"could not be measured: {', '.join(broken)}")


def one_workload(name: str, size: Size, asked: argparse.Namespace, kept: Path) -> list[str]:
    """Measure one workload, show its medians, and keep them unless it was a trial; what of ours failed in it."""
    if name == "RESUME":
        results.store(kept, name, measure_resume(size, rounds=asked.rounds))
        return []
    work = build(name, size)
    chosen = runners(work, scratch(asked.data), executors=asked.executors.split(",") if asked.executors else None)
    if asked.runners:
        chosen = [one for one in chosen if any(text in one.name for text in asked.runners.split(","))]
    session = measure_workload(work, chosen, root=asked.data, rounds=asked.rounds, memory_rounds=asked.memory_rounds)
    print_summary(session)
    if not asked.runners and not asked.executors and asked.rounds > 0:
        results.store(kept, name, session)
    if asked.profile:
        profile_workload(work, asked.data)
    return [f"{name}, {run}" for run, found in session["runs"].items() if found["kind"] == "ours" and "failed" in found]


if __name__ == "__main__":
    main()
