"""This module is ``make demo``: real data, a model, a bundle, a million rows scored, and the result checked.

The data is Wisconsin's breast cancer set, which scikit-learn brings along; a million rows are drawn from its 569 with
some noise, since a larger set would have to be downloaded.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split

ROWS = 1_000_000
ROW_GROUP = 131_072
SEED = 20_260_101


def main(folder: Path) -> None:
    """Make ``folder`` anew and run the demo in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.chdir(folder)
    # the demo's own service is a module of the user's project
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    model = train()
    write_patients(Path("patients.parquet"))
    run("patients.parquet", "scored.parquet")
    show(Path("scored.parquet"))
    check(model, Path("patients.parquet"), Path("scored.parquet"))


def train() -> HistGradientBoostingClassifier:
    """Fit the model on three quarters of the real rows, and save it as a bundle."""
    from cancer_screening import CancerScreening

    data = load_breast_cancer(as_frame=True)
    train_x, test_x, train_y, test_y = train_test_split(data.data, data.target, random_state=SEED)
    model = HistGradientBoostingClassifier(max_iter=60, random_state=SEED).fit(train_x, train_y)
    accuracy = round(model.score(test_x, test_y), 4)
    print(f"trained on {len(train_x)} tumours; accuracy on {len(test_x)} others: {accuracy}")
    service = CancerScreening()
    service.pack("model", model, metadata={"accuracy": accuracy})
    print(f"saved the bundle {service.save_to_dir('bundle')}")
    return model


def write_patients(path: Path) -> None:
    """A million rows around the real ones, with an id and columns that the model does not take."""
    data = load_breast_cancer(as_frame=True).data
    random = np.random.default_rng(SEED)
    spread = 0.05 * data.std().to_numpy()
    writer = None
    for start in range(0, ROWS, ROW_GROUP):
        rows = min(ROW_GROUP, ROWS - start)
        values = (
            data.to_numpy()[random.integers(0, len(data), rows)] + random.normal(size=(rows, data.shape[1])) * spread
        )
        ids = np.arange(start, start + rows)
        columns = {
            "patient": pa.array(ids),
            "clinic": pa.array(np.char.add("clinic-", (ids % 40).astype(str))),
            **{name: pa.array(values[:, position]) for position, name in enumerate(data.columns)},
            "note": pa.array(np.char.add("sample ", ids.astype(str))),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=ROW_GROUP)
    assert writer is not None
    writer.close()
    print(f"wrote {path}: {ROWS:,} rows, {path.stat().st_size / 1e6:.0f} MB")


def run(source: str, target: str) -> None:
    """Score the file with the command that a user would type."""
    words = ["run", "bundle", "predict", "--input-file", source, "--output-file", target, "--keep", "patient"]
    print(f"\n$ {shlex.join(['bentobatch', *words])}", flush=True)
    started = time.monotonic()
    subprocess.run([str(Path(sys.executable).parent / "bentobatch"), *words], check=True)
    print(f"took {time.monotonic() - started:.1f} s, start and end included\n", flush=True)


def show(path: Path) -> None:
    """The first rows of the output."""
    print(f"the head of {path}:")
    print(pq.read_table(path).slice(0, 5).to_pandas().to_string(index=False))


def check(model: HistGradientBoostingClassifier, source: Path, target: Path) -> None:
    """One output row for each input row, in order, equal to what the model itself says; else exit with an error."""
    scored = pq.read_table(target)
    features = list(model.feature_names_in_)
    done = 0
    for group in range(pq.ParquetFile(source).num_row_groups):
        rows: pd.DataFrame = pq.ParquetFile(source).read_row_group(group, columns=["patient", *features]).to_pandas()
        piece = scored.slice(done, len(rows))
        if not np.array_equal(piece["patient"].to_numpy(), rows["patient"].to_numpy()):
            raise SystemExit(f"the ids of rows {done:,} and on are not those of the input")
        if not np.array_equal(piece["prediction"].to_numpy(), model.predict_proba(rows[features])[:, 1]):
            raise SystemExit(f"the predictions of rows {done:,} and on are not those of the model")
        done += len(rows)
    if not done == len(scored) == ROWS:
        raise SystemExit(f"the output has {len(scored):,} rows for {done:,} of the input")
    print(f"\nchecked: {ROWS:,} rows, one for each input row, in order, each equal to the model called directly")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
