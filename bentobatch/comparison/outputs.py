"""This module reads the outputs of two runs side by side, in chunks of the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

CHUNK_ROWS = 65_536


class Output:
    """The rows of one run, in the input's order: an Arrow file, which is mapped and never read whole."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.schema: Any = self._reader.schema
        sizes = [self._reader.get_batch(number).num_rows for number in range(self._reader.num_record_batches)]
        self.rows = sum(sizes)

    def chunks(self, columns: list[str] | None = None) -> Iterator[Any]:
        """Record batches of CHUNK_ROWS rows each (the last has fewer), so that those of two outputs fit together."""
        held: list[Any] = []
        count = 0
        for number in range(self._reader.num_record_batches):
            batch = self._reader.get_batch(number)
            if columns is not None:
                batch = batch.select(columns)
            while batch.num_rows:
                head = batch.slice(0, CHUNK_ROWS - count)
                held.append(head)
                count += head.num_rows
                batch = batch.slice(head.num_rows)
                if count == CHUNK_ROWS:
                    yield _joined(held)
                    held, count = [], 0
        if held:
            yield _joined(held)


def _joined(batches: list[Any]) -> Any:
    if len(batches) == 1:
        return batches[0]
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch
