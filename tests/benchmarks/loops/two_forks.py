"""This module is the tuned loop in two processes, of which one is forked when all is imported and the model loaded.

Usage: two_forks.py INPUT MODEL OUTPUT_FOLDER
"""

from __future__ import annotations

import os
import sys

from loop_parts import load_model, one_thread_each, tuned_loop

one_thread_each()


def main(source, model, output):
    import pyarrow.parquet as pq

    os.makedirs(output)
    predict, dtype = load_model(model)
    groups = pq.read_metadata(source).num_row_groups
    half = (groups + 1) // 2

    def score(part, first, stop):
        file = pq.ParquetFile(source, pre_buffer=False)  # opened after the fork: a file position cannot be shared
        tuned_loop(file, predict, dtype, f"{output}/part-{part}.parquet", range(first, stop))

    child = os.fork()
    if child == 0:
        code = 1
        try:
            score(1, half, groups)
            code = 0
        finally:
            os._exit(code)
    score(0, 0, half)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
