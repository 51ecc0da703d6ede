"""This module scores with MLflow: its spark_udf, or its command line (CSV in, JSON out), on a model that it saved itself.

Usage: mlflow_peer.py --prepare MODEL FOLDER
       mlflow_peer.py --spark-udf INPUT FOLDER OUTPUT_FOLDER
       mlflow_peer.py --command INPUT FOLDER OUTPUT_FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from loop_parts import FEATURES


def prepare(model, folder):
    """The loops' model as an MLflow model."""
    if model.endswith(".txt"):
        import lightgbm
        import mlflow.lightgbm

        mlflow.lightgbm.save_model(lightgbm.Booster(model_file=model), folder)
        return
    import joblib
    import mlflow.sklearn

    # its newest releases refuse pickles by default; this one is our own
    options = {"pyfunc_predict_fn": "predict_proba", "serialization_format": "cloudpickle"}
    mlflow.sklearn.save_model(joblib.load(model), folder, **options)


def spark_udf(source, folder, output):
    """In Spark, all features as one struct."""
    import mlflow.pyfunc
    from pyspark.sql import SparkSession
    from pyspark.sql.functions import col, struct

    builder = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false")
    session = builder.config("spark.driver.memory", "2g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    booster = os.path.exists(os.path.join(folder, "model.lgb"))
    score = mlflow.pyfunc.spark_udf(
        session, folder, env_manager="local", result_type="double" if booster else "array<double>"
    )
    made = score(struct(*[col(name) for name in FEATURES]))
    rows = session.read.parquet(source).select("id", *FEATURES)
    rows.select("id", (made if booster else made[1]).alias("prediction")).write.parquet(output)
    session.stop()


def command(source, folder, output):
    """``mlflow models predict``, with the conversions that it needs on both sides."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    rows = pq.read_table(source, columns=["id", *FEATURES])
    pa_csv.write_csv(rows.select(FEATURES), f"{output}.csv")
    words = ["models", "predict", "-m", folder, "-i", f"{output}.csv", "-t", "csv", "-o", f"{output}.json"]
    subprocess.run([sys.executable, "-m", "mlflow", *words, "--env-manager", "local"], check=True)
    with open(f"{output}.json") as file:
        predictions = json.load(file)["predictions"]
    values = [value[1] if isinstance(value, list) else value for value in predictions]
    pq.write_table(pa.table({"id": rows["id"], "prediction": values}), output)
    os.unlink(f"{output}.csv")
    os.unlink(f"{output}.json")


if __name__ == "__main__":
    ways = {"--prepare": prepare, "--spark-udf": spark_udf, "--command": command}
    ways[sys.argv[1]](*sys.argv[2:])
