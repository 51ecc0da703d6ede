"""This module is ``make bench-online``: bentobatch's servers in turn with others, each in an environment of its own.

    bench_online.py --quick                    about six minutes, once the environments are there
    bench_online.py --rounds 5 --only S1       about 50 s for each server, work and round

What is installed (.venv-online-NAME) stays there. Results go to bench/results/online.json, and from there into
docs/performance.md. A run of some servers only is a trial, and is not saved. Nothing but loopback is used.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "online")]

import joblib  # noqa: E402 - after the path is set
import numpy as np  # noqa: E402
from bentobench import online_page, results, sections  # noqa: E402 - found beside this script
from bentobench.online_load import WITHOUT_WRK, Sample, generator  # noqa: E402
from bentobench.online_servers import SERVERS, Server, environment, versions_of  # noqa: E402
from bentobench.online_session import measure_online  # noqa: E402
from bentobench.peer_list import NotInstalled  # noqa: E402
from bentobench.workloads import scratch  # noqa: E402
from making import FEATURES, make  # noqa: E402 - found in online/

CHECKOUT = HERE.parents[1]
SAMPLES = 64


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="works, with commas between them [S1,S2]")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds, 1 to 100 [5]")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each number of connections, 1 to 120 [8]")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s")
    parser.add_argument("--servers", default="", help="only those whose names hold one of these texts; not saved")
    parser.add_argument(
        "--data", type=Path, default=CHECKOUT / "bench", help="where data and results are kept [bench/]"
    )
    parser.add_argument("--docs", type=Path, default=CHECKOUT / "docs", help="where the page is [docs/]")
    parser.add_argument("--render", action="store_true", help="write the page from the results there are, run nothing")
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    asked.only = [name for name in asked.only.split(",") if name] or list(online_page.TITLES)
    if unknown := sorted(set(asked.only) - set(online_page.TITLES)):
        parser.error(f"unknown work {', '.join(unknown)}; known are {', '.join(online_page.TITLES)}")
    if asked.quick:
        asked.rounds, asked.seconds = 1, 2.0
    if not (1 <= asked.rounds <= 100 and 1 <= asked.seconds <= 120):
        parser.error("--rounds is 1 to 100, --seconds 1 to 120")
    wanted = [text.strip() for text in asked.servers.split(",") if text.strip()]
    asked.chosen = [server for server in SERVERS if not wanted or any(text in server.name for text in wanted)]
    return asked


def main() -> None:
    """Measure what was asked for, saving after each work."""
    asked = options()
    kept = asked.data / "results" / "online.json"
    if not asked.render:
        if generator() != "wrk":
            print(WITHOUT_WRK)
        run(asked, kept)
    page = asked.docs / "performance.md"
    if kept.exists() and len(asked.chosen) == len(SERVERS):
        page.parent.mkdir(parents=True, exist_ok=True)
        old = page.read_text() if page.exists() else ""
        page.write_text(sections.with_section(old, online_page.section(results.load(kept))))
        print(f"wrote {page} from {kept}")


def run(asked: argparse.Namespace, kept: Path) -> None:
    """All works."""
    pythons, missing, versions = _environments(asked.chosen)
    works = make(asked.data / "online" / _recipe())
    folder = scratch(asked.data)
    for name in asked.only:
        print(f"{name}: {asked.rounds} rounds of {asked.seconds:g} s for each number of connections")
        session = measure_online(
            works[name],
            _sample(works[name]),
            pythons,
            [server for server in asked.chosen if server.name in pythons],
            rounds=asked.rounds,
            seconds=asked.seconds,
            folder=folder,
        )
        for server, reason in missing.items():
            session["runs"][server] = {"failed": reason, "levels": {}, "memory_mb": []}
        session["versions"].update(versions)
        if len(asked.chosen) == len(SERVERS):
            results.store(kept, name, session)
    shutil.rmtree(folder)


def _recipe() -> str:
    """What the models and bundles are made by: others are made where that has changed."""
    made_by = [path.read_bytes() for path in sorted((HERE / "online").glob("*.py"))]
    return hashlib.sha256(b"\0".join([*made_by, version("scikit-learn").encode()])).hexdigest()[:12]


def _sample(work: Any) -> Sample:
    rows = np.random.default_rng(1).random((SAMPLES, FEATURES))
    return Sample(rows.tolist(), joblib.load(work.model).predict(rows).tolist())


def _environments(servers: list[Server]) -> tuple[dict[str, Path], dict[str, str], dict[str, str]]:
    """The interpreters of those that can be had, the reasons of those that cannot, and the versions."""
    pythons: dict[str, Path] = {}
    missing: dict[str, str] = {}
    versions: dict[str, str] = {}
    for server in servers:
        try:
            pythons[server.name] = environment(server)
            versions |= versions_of(server, pythons[server.name])
        except NotInstalled as reason:
            missing[server.name] = str(reason)
            print(f"{server.name}: {reason}")
    return pythons, missing, versions


if __name__ == "__main__":
    main()
