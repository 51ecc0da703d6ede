"""This module is the loop that most people write: iter_batches over the file, numpy, predict, ParquetWriter.

Usage: naive_loop.py INPUT MODEL OUTPUT
"""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.parquet as pq
from loop_parts import feature_names, load_model, naive_matrix


def main(source, model, output):
    predict, _ = load_model(model)
    file = pq.ParquetFile(source)
    names = feature_names(file.schema_arrow.names)
    writer = None
    for batch in file.iter_batches(columns=["id", *names]):
        table = pa.table({"id": batch["id"], "prediction": pa.array(predict(naive_matrix(batch, names)))})
        writer = writer or pq.ParquetWriter(output, table.schema)
        writer.write_table(table)
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
