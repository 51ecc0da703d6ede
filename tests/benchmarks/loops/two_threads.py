"""This module is the loop on two threads: each decodes its row group and predicts, one writer writes them in order.

Usage: two_threads.py [--tuned] INPUT MODEL OUTPUT
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from loop_parts import feature_names, load_model, naive_matrix, one_thread_each, scored, tuned_group, tuned_writer

TUNED = "--tuned" in sys.argv
if TUNED:
    one_thread_each()
THREADS = 2
AHEAD = 2
"""Row groups that may be done or under way beyond the one that is written next, for each thread."""


def main(source, model, output):
    import pyarrow.parquet as pq

    predict, dtype = load_model(model)
    metadata = pq.read_metadata(source)
    names = feature_names(metadata.schema.names)
    local = threading.local()

    def work(group):
        if not hasattr(local, "file"):
            local.file = pq.ParquetFile(source, pre_buffer=not TUNED)
        if TUNED:
            return tuned_group(local.file, group, names, predict, dtype)
        table = local.file.read_row_group(group, columns=["id", *names])
        return scored(table["id"], predict(naive_matrix(table, names)))

    writer = None
    waiting = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for group in range(metadata.num_row_groups + THREADS * AHEAD):
            if group < metadata.num_row_groups:
                waiting.append(pool.submit(work, group))
            if group >= THREADS * AHEAD and waiting:
                table = waiting.popleft().result()
                writer = writer or (
                    tuned_writer(output, table.schema) if TUNED else pq.ParquetWriter(output, table.schema)
                )
                writer.write_table(table)
        for future in waiting:
            writer.write_table(future.result())
    writer.close()


if __name__ == "__main__":
    main(*[word for word in sys.argv[1:] if word != "--tuned"])
