"""This module scores with Spark: mapInArrow on all cores of this machine, into a folder.

Usage: spark_peer.py INPUT MODEL OUTPUT_FOLDER
"""

from __future__ import annotations

import sys

from loop_parts import FEATURES, load_model, naive_matrix, scored
from pyspark.sql import SparkSession


def main(source, model, output):
    def score(batches):
        predict, _ = load_model(model)
        for batch in batches:
            yield from scored(batch["id"], predict(naive_matrix(batch, FEATURES))).to_batches()

    builder = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "65536")
    session = builder.config("spark.driver.memory", "2g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    rows = session.read.parquet(source).select("id", *FEATURES)
    rows.mapInArrow(score, "id long, prediction double").write.parquet(output)
    session.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
