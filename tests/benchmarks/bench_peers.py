"""This module is ``make bench-peers``: bentobatch in turn with other engines, each in an environment of its own.

    bench_peers.py --only W1,SMALL --rounds 3 --peers Polars,DuckDB

What is installed (under bench/envs) stays there. A peer that cannot be installed or run is reported with the reason.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from bentobench import measure, render, results  # noqa: E402 - found beside this script
from bentobench.checks import WrongOutput  # noqa: E402
from bentobench.peer_list import PEER_LIST, SAME, NotInstalled, environment, peer_runner, versions_in  # noqa: E402
from bentobench.runners import Runner, loop, ours  # noqa: E402
from bentobench.session import Failed, measure_workload, print_summary  # noqa: E402
from bentobench.workloads import Size, Workload, build, scratch  # noqa: E402

CHECKOUT = HERE.parents[1]
WORKLOADS = ("W1", "W1L", "W2", "W3", "SMALL")
BESIDE = ("1 process, tuned", "2 threads, tuned", "bare script")
"""Loops that run in turn with the peers, as a common measure with the other table."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"workloads, with commas between them [{','.join(WORKLOADS)}]")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds [3]")
    parser.add_argument("--memory-rounds", type=int, default=1, help="further rounds that sample memory [1]")
    parser.add_argument("--peers", default="", help="engines, with commas between them [all]; a part is not saved")
    parser.add_argument(
        "--data", type=Path, default=CHECKOUT / "bench", help="where data and results are kept [bench/]"
    )
    parser.add_argument("--docs", type=Path, help="where the page goes [docs/; with --scale: beside the results]")
    parser.add_argument("--scale", type=float, default=1.0, help="sizes beside the full ones, to try things [1]")
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    asked.only = [name for name in asked.only.split(",") if name] or list(WORKLOADS)
    if unknown := sorted(set(asked.only) - set(WORKLOADS)):
        parser.error(f"no peer does {', '.join(unknown)}; they do {', '.join(WORKLOADS)}")
    asked.peers = [name for name in asked.peers.split(",") if name]
    if unknown := sorted(set(asked.peers) - {peer.name for peer in PEER_LIST}):
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(peer.name for peer in PEER_LIST)}")
    return asked


def main() -> None:
    """Measure what was asked for, saving after every workload."""
    asked = options()
    measure.become_reaper()
    size = Size(asked.data, asked.scale)
    kept = results.results_file(asked.data, asked.scale)
    broken: list[str] = []
    for name in asked.only:
        try:
            session = one_workload(name, size, asked)
        except (Failed, WrongOutput) as error:
            print(f"{name}: {error}")
            broken.append(name)
            continue
        print_summary(session)
        if not asked.peers:
            results.store(kept, results.peers_key(name), session)
    shutil.rmtree(scratch(asked.data))
    docs = asked.docs or (CHECKOUT / "docs" if asked.scale == 1 else kept.with_suffix(""))
    render.publish(kept, docs, anyway=asked.scale != 1)
    if broken:
        sys.exit(f"could not be measured: {', '.join(broken)}")


def one_workload(name: str, size: Size, asked: argparse.Namespace) -> dict[str, Any]:
    """The session of one workload: ours, two loops, and the peers; one that cannot be had is in it with the reason."""
    work = build(name, size)
    chosen, missing, versions = peers_for(work, asked.data, asked.peers)
    folder = scratch(asked.data)
    mine = [ours(work, folder, place) for place in ("dir", "file")]
    loops = [loop(work, folder, script) for script in work.loops if script.name in BESIDE]
    session = measure_workload(
        work, [*mine, *loops, *chosen], root=asked.data, rounds=asked.rounds, memory_rounds=asked.memory_rounds
    )
    nothing: dict[str, Any] = {"kind": "peer", "one_file": False, "wall": [], "cpu": [], "peak_mb": [], "others": []}
    session["runs"].update({peer: {**nothing, "failed": reason} for peer, reason in missing.items()})
    session["versions"].update(versions)
    return session


def peers_for(work: Workload, root: Path, names: list[str]) -> tuple[list[Runner], dict[str, str], dict[str, str]]:
    """The peers that can do a workload, the reasons of those that cannot be had, and the versions of the former; what a
    peer has in another version than ours is told as well."""
    chosen: list[Runner] = []
    missing: dict[str, str] = {}
    versions: dict[str, str] = {}
    for peer in PEER_LIST:
        if work.name not in peer.only or (names and peer.name not in names):
            continue
        try:
            python = environment(root, peer)
            found = versions_in(python, (peer.package, *SAME))
            chosen.append(peer_runner(work, root, peer, python))
        except NotInstalled as reason:
            missing[peer.name] = str(reason)
            print(f"{peer.name}: {reason}")
            continue
        own = versions_in(Path(sys.executable), SAME)
        versions[peer.package] = found[peer.package]
        versions.update({f"{peer.package}'s {name}": found[name] for name in SAME if found[name] != own[name]})
    return chosen, missing, versions


if __name__ == "__main__":
    main()
