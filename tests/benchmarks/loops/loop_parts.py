"""This module holds what the hand-written loops share: the model, the matrix, and the tuned writer.

It imports only what a loop needs, since start-up counts. ``one_thread_each`` must be called before numpy is imported.
"""

from __future__ import annotations

import os
import sys
import warnings

FEATURES = [f"x{index:02d}" for index in range(20)]
CALL_ROWS = 65_536
"""Rows of one call of the model in the tuned loops."""


def one_thread_each() -> None:
    """BLAS and OpenMP at one thread: on small products their threads only spin."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def load_model(path):
    """(predict, dtype): a function from a matrix to predictions, and the element type that the model computes with."""
    if path.endswith(".txt"):
        import lightgbm

        booster = lightgbm.Booster(model_file=path)
        threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
        return (lambda matrix: booster.predict(matrix, num_threads=threads)), "float64"
    if path.endswith(".json"):
        import json

        sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(path) as file:
            steps = json.load(file)["steps"]
        return (lambda matrix: [slow_score(row, steps) for row in matrix.tolist()]), "float64"
    import joblib

    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    model = joblib.load(path)
    casts = type(model).__name__.startswith("RandomForest")
    if hasattr(model, "predict_proba"):
        return (lambda matrix: model.predict_proba(matrix)[:, 1]), "float32" if casts else "float64"
    return model.predict, "float32"


def slow_score(row, steps):
    """The pure-Python model, the same as in bench_services (which would import bentobatch)."""
    value = 0.0
    width = len(row)
    for step in range(steps):
        value = value * 0.5 + row[step % width]
    return value


def naive_matrix(batch, names):
    """The features of a batch or table as most people write it."""
    import numpy as np

    return np.column_stack([batch[name].to_numpy() for name in names])


def tuned_pieces(table, names, dtype):
    """(ids, matrix) of 64k rows each: a preallocated column-major matrix, one copy from Arrow's own memory."""
    import numpy as np

    for start in range(0, table.num_rows, CALL_ROWS):
        piece = table.slice(start, CALL_ROWS)
        matrix = np.empty((piece.num_rows, len(names)), dtype=dtype, order="F")
        for index, name in enumerate(names):
            at = 0
            for chunk in piece[name].chunks:
                matrix[at : at + len(chunk), index] = chunk.to_numpy(zero_copy_only=False)
                at += len(chunk)
        yield piece["id"], matrix


def scored(ids, predictions):
    """The output's table."""
    import pyarrow as pa

    return pa.table({"id": ids, "prediction": pa.array(predictions)})


def tuned_writer(path, schema):
    """A Parquet writer without the encodings that cost more than they save here."""
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        path, schema, use_dictionary=False, column_encoding={"id": "DELTA_BINARY_PACKED", "prediction": "PLAIN"}
    )


def tuned_group(file, group, names, predict, dtype):
    """One row group, decoded and scored in the calling thread."""
    import pyarrow as pa

    table = file.read_row_group(group, columns=["id", *names], use_threads=False)
    return pa.concat_tables([scored(ids, predict(matrix)) for ids, matrix in tuned_pieces(table, names, dtype)])


def score_groups(source, model, output, groups):
    """The tuned loop of one process over some row groups, into one file."""
    import pyarrow.parquet as pq

    predict, dtype = load_model(model)
    tuned_loop(pq.ParquetFile(source, pre_buffer=False), predict, dtype, output, groups)


def tuned_loop(file, predict, dtype, output, groups):
    """As ``score_groups``, with the model loaded and the file open."""
    names = feature_names(file.schema_arrow.names)
    writer = None
    for group in groups:
        table = tuned_group(file, group, names, predict, dtype)
        writer = writer or tuned_writer(output, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def feature_names(columns):
    """The features among a file's columns: the 20 of most workloads, or the many of the wide one."""
    return FEATURES if "x00" in columns else [name for name in columns if name.startswith("w")]
