"""This module scores with Polars: scan, map_batches on the streaming engine, sink into one file.

Usage: polars_peer.py INPUT MODEL OUTPUT
"""

from __future__ import annotations

import sys

import polars as pl
from loop_parts import FEATURES, load_model


def main(source, model, output):
    predict, _ = load_model(model)

    def score(frame):
        predictions = predict(frame.select(FEATURES).to_numpy())
        return frame.select("id").with_columns(pl.Series("prediction", predictions))

    schema = {"id": pl.Int64, "prediction": pl.Float64}
    lazy = pl.scan_parquet(source).select("id", *FEATURES)
    lazy.map_batches(score, schema=schema, streamable=True).sink_parquet(output, engine="streaming")


if __name__ == "__main__":
    main(*sys.argv[1:])
