"""This module is the shortest script that scores a small file: pandas in, predict, pandas out.

Usage: bare_script.py INPUT MODEL OUTPUT
"""

from __future__ import annotations

import sys

import pandas as pd
from loop_parts import FEATURES, load_model


def main(source, model, output):
    predict, _ = load_model(model)
    rows = pd.read_parquet(source, columns=["id", *FEATURES])
    pd.DataFrame({"id": rows["id"], "prediction": predict(rows[FEATURES].to_numpy())}).to_parquet(output, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
