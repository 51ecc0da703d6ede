"""This module is the tuned loop in two interpreters, half of the row groups each, into two part files.

Usage: two_processes.py INPUT MODEL OUTPUT_FOLDER
"""

from __future__ import annotations

import os
import subprocess
import sys


def main(source, model, output):
    import pyarrow.parquet as pq

    os.makedirs(output)
    groups = pq.read_metadata(source).num_row_groups
    half = (groups + 1) // 2
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tuned_loop.py")
    children = [
        subprocess.Popen(
            [sys.executable, script, source, model, f"{output}/part-{part}.parquet", str(first), str(stop)]
        )
        for part, (first, stop) in enumerate([(0, half), (half, groups)])
    ]
    return max([child.wait() for child in children])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
