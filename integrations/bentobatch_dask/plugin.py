"""This module opens a plan in every worker of a Dask cluster before its first split comes, and closes it afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from distributed import WorkerPlugin

from bentobatch.engine import remote
from bentobatch.errors import BentobatchError

_LOG = logging.getLogger("bentobatch")


class OpenPlan(WorkerPlugin):  # type: ignore[misc] # distributed has no types
    """Loads the plan's bundle into a child of each worker process, also of workers that join later.

    Its name is the plan's, so that a second registration of the same plan changes nothing. ``kept`` is
    ``KeptPlan.to_json()``: all that travels.
    """

    idempotent = True

    def __init__(self, kept: Mapping[str, str]) -> None:
        self.kept = dict(kept)
        self.name = f"bentobatch-{self.kept['plan_id']}"

    async def setup(self, worker: Any) -> None:
        """Open the plan. What keeps it from that is told by its first split here, to the run that can act on it."""
        try:
            # off the event loop: loading takes seconds, in which the worker must go on answering its scheduler
            await asyncio.to_thread(_open, self.kept)
        except BentobatchError as error:
            _LOG.warning("worker %s cannot open plan %s yet: %s", worker.address, self.kept["plan_id"], error)

    async def teardown(self, worker: Any) -> None:  # noqa: ARG002 - the plugin's interface
        """End the plan's children in this worker process."""
        await asyncio.to_thread(remote.close_server, self.kept)


def _open(kept: Mapping[str, str]) -> None:
    remote.server_of(kept).open()
