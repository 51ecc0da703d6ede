"""This module is the loop over a folder of images: Pillow decodes, numpy scores, one file of path and prediction.

Usage: images_loop.py THREADS INPUT_FOLDER MODEL OUTPUT
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def main(threads, source, model, output):
    with open(model) as file:
        weights = json.load(file)["weights"]

    def score(name):
        with Image.open(os.path.join(source, name)) as image:
            pixels = np.asarray(image.convert("RGB"))
        return float((pixels.mean(axis=(0, 1)) * weights).sum())

    names = sorted(os.listdir(source))
    with ThreadPoolExecutor(int(threads)) as pool:
        predictions = list(pool.map(score, names)) if int(threads) > 1 else [score(name) for name in names]
    pq.write_table(pa.table({"path": names, "prediction": predictions}), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
