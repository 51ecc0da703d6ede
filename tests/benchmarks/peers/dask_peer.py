"""This module scores with Dask: map_partitions on threads, a partition for each row group, into a folder.

Usage: dask_peer.py INPUT MODEL OUTPUT_FOLDER
"""

from __future__ import annotations

import sys

import dask
import dask.dataframe as dd
import pandas as pd
from loop_parts import FEATURES, load_model


def main(source, model, output):
    predict, _ = load_model(model)

    def score(frame):
        return pd.DataFrame({"id": frame["id"], "prediction": predict(frame[FEATURES].to_numpy())})

    frame = dd.read_parquet(source, columns=["id", *FEATURES], split_row_groups=1)
    meta = {"id": "int64", "prediction": "float64"}
    with dask.config.set(scheduler="threads"):
        frame.map_partitions(score, meta=meta).to_parquet(output, write_index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
