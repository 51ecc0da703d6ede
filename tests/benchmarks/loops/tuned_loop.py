"""This module is the tuned loop of one process: row group by row group, one thread, nothing wasted.

Usage: tuned_loop.py INPUT MODEL OUTPUT [FIRST STOP]    (row groups; default: all of them)
"""

from __future__ import annotations

import sys

from loop_parts import one_thread_each, score_groups

one_thread_each()


def main(source, model, output, *bounds):
    import pyarrow.parquet as pq

    first, stop = (int(bound) for bound in bounds) if bounds else (0, pq.read_metadata(source).num_row_groups)
    score_groups(source, model, output, range(first, stop))


if __name__ == "__main__":
    main(*sys.argv[1:])
