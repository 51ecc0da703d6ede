"""This module counts, beside the output, the workers that a split took with it, and says when there is no use in going on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.crew import Outcome
from bentobatch.engine.store import Store
from bentobatch.errors import DataError, ModelError

_LOG = logging.getLogger("bentobatch")
MOST_FATAL_ROWS = 200
"""A split that ended more workers than this has no bad rows; its model or its file ends every worker."""


def count_death(
    store: Store, plan_id: str, key: str, outcome: Outcome, *, fields: Mapping[str, Any] | None = None
) -> None:
    """Note one more death of a split's worker, whichever executor it worked for; the split may be scored once more.
    ``fields`` are those of the event in the log.

    Raises:
        DataError: it keeps dying while it reads.
        ModelError: it died too often for single rows to be the reason.
    """
    deaths = parts.record_death(store, plan_id, key, outcome.rows)
    more = {**(fields or {}), "deaths": deaths.count}
    _LOG.warning("split %d: %s (%d times)", outcome.index, outcome.death, deaths.count, extra={"fields": more})
    if outcome.rows is None and deaths.count >= parts.MOST_DEATHS and not deaths.ranges:
        raise DataError(f"reader crashed on {outcome.file}: {outcome.death}, {deaths.count} times")
    if deaths.count >= MOST_FATAL_ROWS:
        raise ModelError(f"split {outcome.index}: {outcome.death}, {deaths.count} times; nothing can be left out")
