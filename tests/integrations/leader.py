"""This module is a run in a process of its own, for tests that kill its leader: ``python leader.py '{"bundle": …}'``."""

from __future__ import annotations

import json
import sys
from typing import Any

import bentobatch
from tests.conformance.pool_scheduler import PoolScheduler


def main(text: str) -> None:
    """Run what a JSON object of the keywords of ``bentobatch.run`` says."""
    options: dict[str, Any] = json.loads(text)
    executor = options.pop("executor")
    bentobatch.run(options.pop("bundle"), executor=PoolScheduler(2) if executor == "pool" else executor, **options)


if __name__ == "__main__":
    main(sys.argv[1])
