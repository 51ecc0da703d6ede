"""This module scores with DuckDB: an Arrow function in SQL, COPY into one file.

Usage: duckdb_peer.py INPUT MODEL OUTPUT
"""

from __future__ import annotations

import sys

import duckdb
import numpy as np
import pyarrow as pa
from loop_parts import FEATURES, load_model


def main(source, model, output):
    predict, _ = load_model(model)

    def score_columns(columns):
        return pa.array(predict(np.column_stack([column.to_numpy() for column in columns])))

    names = ", ".join(FEATURES)
    # DuckDB counts the parameters of a function, so it must name each one
    score = eval(f"lambda {names}: score_columns([{names}])", {"score_columns": score_columns})
    connection = duckdb.connect()
    connection.create_function("score", score, ["DOUBLE"] * len(FEATURES), "DOUBLE", type="arrow")
    connection.sql(f"SELECT id, score({names}) AS prediction FROM read_parquet('{source}')").write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
