"""This module scores with Daft: a batch function over the columns, into a folder; its rows may be out of order.

Usage: daft_peer.py INPUT MODEL OUTPUT_FOLDER
"""

from __future__ import annotations

import sys

import daft
import numpy as np
from loop_parts import FEATURES, load_model


def main(source, model, output):
    predict, _ = load_model(model)

    @daft.udf(return_dtype=daft.DataType.float64(), batch_size=65_536)
    def score(*columns):
        return predict(np.column_stack([column.to_arrow().to_numpy() for column in columns]))

    frame = daft.read_parquet(source).select("id", *FEATURES)
    scored = frame.with_column("prediction", score(*[daft.col(name) for name in FEATURES]))
    scored.select("id", "prediction").write_parquet(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
