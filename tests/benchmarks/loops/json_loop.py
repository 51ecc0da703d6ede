"""This module is the loop over JSON lines: pyarrow.json, predict, ParquetWriter.

Usage: json_loop.py [--blocks | --whole] INPUT MODEL OUTPUT    (--whole reads the file at once, with all cores)
"""

from __future__ import annotations

import sys

import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from loop_parts import FEATURES, load_model, naive_matrix

WHOLE = "--whole" in sys.argv


def main(source, model, output):
    predict, _ = load_model(model)
    options = pa_json.ReadOptions(block_size=8 << 20)
    batches = [pa_json.read_json(source, options)] if WHOLE else pa_json.open_json(source, options)
    writer = None
    for batch in batches:
        table = pa.table({"id": batch["id"], "prediction": pa.array(predict(naive_matrix(batch, FEATURES)))})
        writer = writer or pq.ParquetWriter(output, table.schema)
        writer.write_table(table)
    writer.close()


if __name__ == "__main__":
    main(*[word for word in sys.argv[1:] if not word.startswith("--")])
