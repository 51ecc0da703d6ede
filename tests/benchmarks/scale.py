"""This module is ``make bench-scale``: it measures bentobatch at large sizes.

    scale.py rows                       1e9 rows as a hundred links to one file of 1e7 rows
    scale.py plan                       plan, receipts and commit of 1,000, 10,000 and 100,000 splits
    scale.py memory [--size 10GiB]      wide texts under a memory limit of 1 GiB
    scale.py all                        these, one after the other

Results go to bench/results, and from there into docs/scaling.md as soon as all three were measured here with these
versions, or whatever there is with ``scale.py page``. With --scale 0.02 they are tried at a fiftieth of the size; such
results stay out of docs/. The texts are kept, all else that is made is removed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from bentobench import measure, results, scale_page  # noqa: E402 - found beside this script
from bentobench.machine import machine, versions  # noqa: E402
from bentobench.scale_plan import measure_plans  # noqa: E402
from bentobench.scale_runs import limited_run, long_run  # noqa: E402
from bentobench.workloads import Size, scratch  # noqa: E402

CHECKOUT = HERE.parents[1]
PARTS = {"rows": "LONG", "plan": "PLANS", "memory": "MEMORY"}
"""What can be measured, by the key of its results."""
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def size_of(text: str) -> int:
    """Bytes from a text such as 10GiB."""
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def main() -> None:
    """Measure what was asked for, saving after each part, and write the page when all parts are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*PARTS, "all", "page"])
    parser.add_argument("--scale", type=float, default=1.0, help="sizes beside the full ones, to try things [1]")
    parser.add_argument("--size", type=size_of, default=size_of("10GiB"), help="of the input of `memory` [10GiB]")
    parser.add_argument("--limit", type=size_of, default=size_of("1GiB"), help="of memory [1GiB]")
    parser.add_argument("--limit-by", choices=["auto", "cgroup", "data", "as"], default="auto", help="[auto]")
    parser.add_argument("--splits", default="1000,10000,100000", help="the sizes of `plan` [1000,10000,100000]")
    parser.add_argument(
        "--data", type=Path, default=CHECKOUT / "bench", help="where data and results are kept [bench/]"
    )
    asked = parser.parse_args()
    root = asked.data.resolve()
    measure.become_reaper()
    trial = asked.scale != 1
    kept = root / "results" / (f"scaling-scale-{asked.scale:g}.json" if trial else "scaling.json")
    try:
        for what in PARTS if asked.what == "all" else {asked.what} & set(PARTS):
            keep(kept, PARTS[what], measured(what, root, asked))
    finally:
        shutil.rmtree(scratch(root))
    docs = kept.with_suffix(".md") if trial else CHECKOUT / "docs" / "scaling.md"
    sessions = results.load(kept)
    lacking = results.lacking(sessions, list(PARTS.values()), {"machine": machine(), "versions": versions()})
    if lacking and not trial and asked.what != "page":
        print(f"{docs} is not written (`scale.py page` writes it anyway), for lack of {', '.join(lacking)}")
        return
    docs.write_text(scale_page.page(sessions))
    print(f"wrote {docs}")


def measured(what: str, root: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """One part."""
    print(f"{what} ...", flush=True)
    if what == "rows":
        return long_run(Size(root, asked.scale))
    if what == "plan":
        counts = [max(10, round(int(count) * asked.scale)) for count in asked.splits.split(",")]
        return {"plans": measure_plans(root, counts)}
    return limited_run(root, round(asked.size * asked.scale), asked.limit, by=asked.limit_by)


def keep(path: Path, key: str, found: dict[str, Any]) -> None:
    """Keep a result with its date, machine and versions."""
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    results.store(path, key, {**found, "date": date, "machine": machine(), "versions": versions()})


if __name__ == "__main__":
    main()
