"""A model of Python 3.8, which no library of today can read, is scored by the Python and the libraries of its time.

It needs a Python 3.8 on the machine, and a network: `make test-environments`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bentobatch
from bentobatch.environments.building import kept_environment
from bentobatch.environments.interpreters import find
from bentobatch.errors import BundleError, MissingDependencyError

SERVICE = """
import bentoml
from bentoml.adapters import DataframeInput
from bentoml.frameworks.sklearn import SklearnModelArtifact


@bentoml.env(infer_pip_packages=True)
@bentoml.artifacts([SklearnModelArtifact('model')])
class Tree(bentoml.BentoService):
    @bentoml.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict_proba(df)[:, 1]
"""
MANIFEST = """\
version: 0.13.1
kind: BentoService
metadata:
  created_at: 2021-08-31 11:12:23.055711
  service_name: Tree
  service_version: 20210831111223_A1B2C3
  module_name: tree
  module_file: tree.py
env:
  pip_packages: [bentoml==0.13.1, scikit-learn==0.24.2]
  python_version: 3.8.12
apis:
- name: predict
  input_type: DataframeInput
  output_type: DefaultOutput
  batch: true
  route: predict
artifacts:
- name: model
  artifact_type: SklearnModelArtifact
  metadata: {}
"""
TRAIN = """
import json, sys, joblib, numpy
from sklearn.tree import DecisionTreeClassifier
rows = numpy.random.RandomState(7).rand(200, 2)
model = DecisionTreeClassifier(max_depth=3, random_state=0).fit(rows, rows.sum(axis=1) > 1)
joblib.dump(model, sys.argv[1])
print(json.dumps([rows.tolist(), model.predict_proba(rows)[:, 1].tolist()]))
"""


def test_a_model_of_python_3_8_is_scored_by_it(tmp_path: Path) -> None:
    """The bundle's code runs here, its model there; the values are those that the old environment gives."""
    try:
        base = find("3.8", whose="this test")
    except MissingDependencyError:
        pytest.skip("there is no Python 3.8 on this machine")
    python = kept_environment("train", base, lambda made: made.install(["scikit-learn==0.24.2"]), what="the trainer")
    artifacts = tmp_path / "bundle" / "Tree" / "artifacts"
    artifacts.mkdir(parents=True)
    done = subprocess.run(
        [python, "-c", TRAIN, str(artifacts / "model.pkl")], capture_output=True, text=True, check=True, timeout=120
    )
    rows, expected = json.loads(done.stdout)
    (tmp_path / "bundle" / "bentoml.yml").write_text(MANIFEST)
    (tmp_path / "bundle" / "requirements.txt").write_text("bentoml==0.13.1\nscikit-learn==0.24.2\npandas\n")
    (tmp_path / "bundle" / "Tree" / "tree.py").write_text(SERVICE)
    pq.write_table(pa.table({"a": [row[0] for row in rows], "b": [row[1] for row in rows]}), tmp_path / "x.parquet")
    options = {"input_file": tmp_path / "x.parquet", "output_file": tmp_path / "o.parquet"}
    with pytest.raises(BundleError, match=r"scikit-learn 0\.24\.2"):
        bentobatch.run(tmp_path / "bundle", isolated=True, **options)
    report = bentobatch.run(tmp_path / "bundle", env="bundle", split_rows=50, **options)
    assert pq.read_table(tmp_path / "o.parquet").column("prediction").to_pylist() == expected
    assert report.environment is not None
    assert report.environment["python"].startswith("3.8.")
    assert report.environment["packages"]["scikit-learn"] == "0.24.2"


def test_a_bundle_that_bentoml_wrote_gives_what_bentoml_gave(tmp_path: Path) -> None:
    """A real one of Python 3.8, with the scikit-learn and pandas that it pins."""
    real = Path(__file__).resolve().parents[4] / "shared" / "legacy-bundles" / "iris_df"
    if not real.is_dir():
        pytest.skip("the real bundles are not beside this checkout")
    try:
        find("3.8", whose="this test")
    except MissingDependencyError:
        pytest.skip("there is no Python 3.8 on this machine")
    output = tmp_path / "o.parquet"
    bentobatch.run(real / "bundle", input_file=real / "input.csv", output_file=output, env="bundle")
    expected = json.loads((real / "expected" / "csv.result").read_text())
    assert pq.read_table(output).column("prediction").to_pylist() == expected
