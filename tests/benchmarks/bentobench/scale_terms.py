"""This module measures one term of planning or committing a large job, in a process of its own; prints JSON.

Usage: scale_terms.py TERM BUNDLE INPUT_FOLDER OUTPUT_FOLDER SPLIT_ROWS    (TERM: plan, save, load, parts, list, commit)

The files are small, but their number, and that of the splits, is real: every footer is opened, every receipt and part is
a file. Parts and receipts of all splits but the first are copies, since the files are links to one content.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bentobatch
from bentobatch.engine import parts
from bentobatch.engine.plan import Plan
from bentobatch.engine.store import store_at


def state_of(output: Path) -> Path:
    """Where the state of an output lies."""
    return output.with_name(f".{output.name}.bentobatch")


def plan_file(output: Path) -> Path:
    """The one plan beside an output."""
    return next(state_of(output).glob("*/plan.json"))


def loaded(output: Path) -> Plan:
    """The plan beside an output."""
    return Plan.from_json(json.loads(plan_file(output).read_bytes()))


def make_plan(bundle: str, source: str, output: Path, split_rows: int) -> dict[str, Any]:
    """Planning, with the plan saved, as ``run`` does it; and once more, where it is found again (a resume)."""
    options = {"input_file": source, "output_file": str(output), "keep": ["id"], "split_rows": split_rows}
    started = time.perf_counter()
    plan = bentobatch.plan(bundle, **options)
    took = time.perf_counter() - started
    return {
        "seconds": took,
        "files": len(plan.files),
        "splits": len(plan.splits),
        "bytes": plan_file(output).stat().st_size,
    }


def save_plan(output: Path) -> dict[str, Any]:
    """The plan as bytes."""
    plan = loaded(output)
    started = time.perf_counter()
    data = json.dumps(plan.to_json())
    return {"seconds": time.perf_counter() - started, "bytes": len(data)}


def load_plan(output: Path) -> dict[str, Any]:
    """The plan from its file, which every worker does once."""
    started = time.perf_counter()
    plan = loaded(output)
    return {"seconds": time.perf_counter() - started, "splits": len(plan.splits)}


def make_parts(output: Path) -> dict[str, Any]:
    """Score the first split, and give every other one a copy of its part and receipt; without fsync, so not a term."""
    plan = loaded(output)
    store = store_at(plan.state)
    started = time.perf_counter()
    bentobatch.run_split(plan, 0)
    first = plan.splits[0].key
    receipt = parts.read_receipt(store, plan.plan_id, first)
    assert receipt is not None
    part = Path(plan.state, parts.part_name(plan.plan_id, first)).read_bytes()
    for split in plan.splits[1:]:
        Path(plan.state, parts.part_name(plan.plan_id, split.key)).write_bytes(part)
        copied = replace(receipt, key=split.key).to_bytes()
        Path(plan.state, parts.receipt_name(plan.plan_id, split.key)).write_bytes(copied)
    return {"seconds": time.perf_counter() - started, "bytes": len(part), "receipt": len(copied)}


def list_receipts(output: Path) -> dict[str, Any]:
    """The names of all receipts, which a resume asks for once."""
    plan = loaded(output)
    store = store_at(plan.state)
    started = time.perf_counter()
    names = store.names(f"{plan.plan_id}/receipts")
    return {"seconds": time.perf_counter() - started, "receipts": len(names)}


def commit_parts(output: Path) -> dict[str, Any]:
    """The commit: every receipt read, every part checked and put in place."""
    plan = loaded(output)
    started = time.perf_counter()
    record = bentobatch.commit(plan)
    took = time.perf_counter() - started
    size = next(state_of(output).glob("*/commit.json")).stat().st_size
    return {"seconds": took, "rows": record["rows"], "record": size, "success": (output / "_SUCCESS").stat().st_size}


def main(term: str, bundle: str, source: str, target: str, split_rows: str) -> None:
    """Run one term and print what it took."""
    output = Path(target)
    terms: dict[str, Callable[[], dict[str, Any]]] = {
        "plan": lambda: make_plan(bundle, source, output, int(split_rows)),
        "save": lambda: save_plan(output),
        "load": lambda: load_plan(output),
        "parts": lambda: make_parts(output),
        "list": lambda: list_receipts(output),
        "commit": lambda: commit_parts(output),
    }
    found = terms[term]()
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    os.write(1, json.dumps({**found, "peak_mb": peak}).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
