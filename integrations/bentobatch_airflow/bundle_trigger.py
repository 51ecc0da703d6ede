"""This module watches the repository of bundles, for DAGs that run whenever a new one was saved.

Asset("fraud-bundle", watchers=[AssetWatcher(name="saved", trigger=NewBundleTrigger(name="fraud"))])
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

KEY = "bentobatch_newest"
"""Where the newest bundle that was told of is kept, in the asset's state store."""


class NewBundleTrigger(BaseEventTrigger):  # type: ignore[misc] # Airflow is not checked here
    """Fires with {"bundle": "NAME:VERSION"} for every bundle of ``name`` that is newer than the last one it knew.

    ``repository`` is the folder (by default the one of the triggerer's own settings), ``poll_interval`` in seconds. The
    bundle that is there when it looks for the first time is not new; one that is saved while no triggerer runs is.
    """

    def __init__(self, *, name: str, repository: str | None = None, poll_interval: float = 30.0) -> None:
        super().__init__()
        self.name = name
        self.repository = repository
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the class is, and its keywords."""
        names = ("name", "repository", "poll_interval")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, again and again."""
        known = await self._remembered()
        first = known is None
        while True:
            newest = await asyncio.to_thread(self.newest)
            if newest != known and newest is not None:
                await self._remember(newest)
                if not first:
                    yield TriggerEvent({"bundle": newest})
            known, first = newest or known, False
            await asyncio.sleep(self.poll_interval)

    def newest(self) -> str | None:
        """The tag of the newest bundle of this name, None without any."""
        from bentobatch.repository.local import LocalRepository  # here: a DAG file is parsed without the engine

        found = LocalRepository(Path(self.repository) if self.repository else None).bundles(self.name)
        return f"{found[0].path.parent.name}:{found[0].path.name}" if found else None

    async def _remembered(self) -> str | None:
        return None if self.asset_state_store is None else await self.asset_state_store.aget(KEY)

    async def _remember(self, newest: str) -> None:
        if self.asset_state_store is not None:
            await self.asset_state_store.aset(KEY, newest)
