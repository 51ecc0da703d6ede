"""This module scores with Ray Data: map_batches with tasks, into a folder; its rows are out of order.

Usage: ray_peer.py INPUT MODEL OUTPUT_FOLDER
"""

from __future__ import annotations

import os
import sys

import numpy as np
import ray
from loop_parts import FEATURES, load_model

_LOADED = {}


def main(source, model, output):
    def score(batch):
        if model not in _LOADED:  # once for each worker process
            _LOADED[model] = load_model(model)[0]
        matrix = np.column_stack([batch[name] for name in FEATURES])
        return {"id": batch["id"], "prediction": np.asarray(_LOADED[model](matrix))}

    # the workers find the loops' model loader by this path
    paths = {"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
    ray.init(runtime_env=paths, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    data = ray.data.read_parquet(source, columns=["id", *FEATURES])
    data.map_batches(score, batch_size=65_536, batch_format="numpy").write_parquet(output)
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
