"""This module is the loop over a folder of small Parquet files: read one, predict, append to one output file.

Usage: small_files_loop.py [--tuned] INPUT_FOLDER MODEL OUTPUT
"""

from __future__ import annotations

import glob
import sys

from loop_parts import FEATURES, load_model, naive_matrix, one_thread_each, scored, tuned_pieces, tuned_writer

TUNED = "--tuned" in sys.argv
if TUNED:
    one_thread_each()


def main(source, model, output):
    import pyarrow.parquet as pq

    predict, dtype = load_model(model)
    writer = None
    for path in sorted(glob.glob(f"{source}/*.parquet")):
        file = pq.ParquetFile(path, pre_buffer=not TUNED)
        table = file.read(columns=["id", *FEATURES], use_threads=not TUNED)
        if TUNED:
            pieces = [scored(ids, predict(matrix)) for ids, matrix in tuned_pieces(table, FEATURES, dtype)]
        else:
            pieces = [scored(table["id"], predict(naive_matrix(table, FEATURES)))]
        for piece in pieces:
            writer = writer or (tuned_writer(output, piece.schema) if TUNED else pq.ParquetWriter(output, piece.schema))
            writer.write_table(piece)
    writer.close()


if __name__ == "__main__":
    main(*[word for word in sys.argv[1:] if word != "--tuned"])
