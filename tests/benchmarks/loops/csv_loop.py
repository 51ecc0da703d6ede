"""This module is the loop over a CSV file: pyarrow.csv by blocks, predict, ParquetWriter.

Usage: csv_loop.py [--blocks | --whole] INPUT MODEL OUTPUT    (--whole reads the file at once, with all cores)
"""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from loop_parts import FEATURES, load_model, naive_matrix

WHOLE = "--whole" in sys.argv


def main(source, model, output):
    predict, _ = load_model(model)
    columns = pa_csv.ConvertOptions(include_columns=["id", *FEATURES])
    if WHOLE:
        batches = [pa_csv.read_csv(source, convert_options=columns)]
    else:
        batches = pa_csv.open_csv(source, read_options=pa_csv.ReadOptions(block_size=8 << 20), convert_options=columns)
    writer = None
    for batch in batches:
        table = pa.table({"id": batch["id"], "prediction": pa.array(predict(naive_matrix(batch, FEATURES)))})
        writer = writer or pq.ParquetWriter(output, table.schema)
        writer.write_table(table)
    writer.close()


if __name__ == "__main__":
    main(*[word for word in sys.argv[1:] if not word.startswith("--")])
