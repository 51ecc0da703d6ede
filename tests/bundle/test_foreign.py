"""This module tests models that are run without a service: .onnx and .skops files, MLflow models' folders."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skops.io
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn import datasets
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import bentobatch
from bentobatch import runs
from bentobatch.bundle.manifest import read_manifest
from bentobatch.cli.main import main
from bentobatch.errors import BundleError, MissingDependencyError, NoInputError, UsageError
from bentobatch.repository.local import resolve
from tests.serving.ways import serve_way

IRIS = datasets.load_iris(as_frame=True)
LABELS = IRIS.target_names[IRIS.target]
TREE = "sklearn.tree._tree.Tree"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def classifier() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS.data, LABELS)


def linear(path: Path, *, inputs: tuple[str, ...] = ("x",), width: int = 2) -> Path:
    """A model that gives the sum of its inputs, each of ``width`` columns."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in inputs]
    result = helper.make_tensor_value_info("total", TensorProto.FLOAT, ["N", width])
    graph = helper.make_graph(
        [helper.make_node("Sum" if len(inputs) > 1 else "Identity", list(inputs), ["total"])], "sums", given, [result]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def scored(model: Path, table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """The output for ``table``, scored by the model at that path."""
    table.to_parquet("rows.parquet")
    runs.run(
        str(model), input_file="rows.parquet", output_file="out.parquet", overwrite=True, executor="inline", **options
    )
    return pd.read_parquet("out.parquet")


def mlflow_folder(path: Path, *, loader: str = "mlflow.sklearn", **flavor: Any) -> Path:
    """The folder of an MLflow model, as far as it is read before MLflow is asked."""
    path.mkdir()
    columns = [{"type": kind, "name": name, "required": True} for name, kind in (("a", "long"), ("b", "string"))]
    description = {
        "flavors": {"python_function": {"loader_module": loader}, loader.removeprefix("mlflow."): flavor},
        "signature": {"inputs": json.dumps(columns)},
    }
    (path / "MLmodel").write_text(json.dumps(description))
    (path / "model.pkl").write_bytes(pickle.dumps(Canary(path.parent / "canary")))
    return path


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_a_classifier_gives_its_label_and_its_probabilities(classifier: Any, tmp_path: Path) -> None:
    """One tensor of all columns; of the map that skl2onnx writes, a column for each label."""
    model = tmp_path / "iris.onnx"
    model.write_bytes(to_onnx(classifier, IRIS.data.to_numpy(np.float32)[:1]).SerializeToString())
    out = scored(model, IRIS.data, allow_pickle=False)
    assert out["output_label"].tolist() == list(classifier.predict(IRIS.data))
    probabilities = out[[f"output_probability_{label}" for label in classifier.classes_]]
    np.testing.assert_allclose(probabilities, classifier.predict_proba(IRIS.data), atol=1e-6)


def test_inputs_that_are_columns_are_found_by_name_and_read_as_their_types(tmp_path: Path) -> None:
    """A CSV with its columns in another order: text stays text, "007" too; other columns are left alone."""
    table = IRIS.data.set_axis(list("abcd"), axis=1).astype("float32").assign(kind=["007", "8", "x"] * 50)
    encoder = make_column_transformer((OneHotEncoder(), ["kind"]), (StandardScaler(), list("abcd")))
    fitted = make_pipeline(encoder, LogisticRegression()).fit(table, IRIS.target)
    (tmp_path / "table.onnx").write_bytes(to_onnx(fitted, table[:1]).SerializeToString())
    table.iloc[:, ::-1].assign(id=range(150)).to_csv("rows.csv", index=False)
    report = runs.run("table.onnx", input_file="rows.csv", output_file="out.parquet", keep=["id"], executor="inline")
    out = pd.read_parquet("out.parquet")
    assert out["id"].tolist() == list(range(150))
    assert out["output_label"].tolist() == fitted.predict(table).tolist()
    assert report.rows == 150
    schema = read_manifest(resolve("table.onnx")).content["apis"][0]["input_schema"]
    assert schema == {"a": "double", "b": "double", "c": "double", "d": "double", "kind": "string"}


def test_what_no_table_can_feed_is_refused(tmp_path: Path) -> None:
    """Where the bundle would be made, in one line; see tests/frameworks/test_onnx_tables.py."""
    scalar = helper.make_tensor_value_info("factor", TensorProto.FLOAT, [])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["factor"], ["y"])], "scalar", [scalar], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "scalar.onnx")
    with pytest.raises(UsageError, match=r"'factor' .* is a single value"):
        resolve("scalar.onnx")


def test_names_of_inputs_are_never_code(tmp_path: Path) -> None:
    """What a model file calls its inputs goes into the bundle's module as text."""
    names = ('"""\nopen("canary", "w")\n"""', "'], dtype=open('canary', 'w')) #", "\\", "ü\u2028")
    table = pd.DataFrame({name: [float(number)] for number, name in enumerate(names)})
    out = scored(linear(tmp_path / "names.onnx", inputs=names, width=1), table)
    assert out["prediction"].tolist() == [6.0]
    assert not (tmp_path / "canary").exists()


def test_the_same_model_is_one_bundle_wherever_it_lies(tmp_path: Path, home: Path) -> None:
    """Made once: by content, not by path or time. So the same command finds its plan and what it has done again."""
    first = resolve(str(linear(tmp_path / "one.onnx")))
    (tmp_path / "two.onnx").write_bytes((tmp_path / "one.onnx").read_bytes())
    os.utime(tmp_path / "one.onnx", (1, 1))
    made = first.stat().st_ino
    assert resolve("two.onnx") == resolve("one.onnx") == first
    assert first.stat().st_ino == made
    assert resolve(str(linear(tmp_path / "one.onnx", width=3))) != first
    assert len(list((home / "cache" / "bundles").iterdir())) == 2


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """The plan's id holds from one command to the next."""
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    table.to_parquet("rows.parquet")
    linear(tmp_path / "sum.onnx")
    reports = [
        runs.run("sum.onnx", input_file="rows.parquet", output_file="out.parquet", executor="inline") for _ in range(2)
    ]
    assert reports[0].plan_id == reports[1].plan_id
    assert pq.read_table("out.parquet").num_rows == 2


def test_runs_at_the_same_time_use_one_bundle(tmp_path: Path, home: Path) -> None:
    """Whoever comes second waits for what the first one makes."""
    model = str(linear(tmp_path / "sum.onnx"))
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: resolve(model), range(4)))
    assert len(found) == 1
    assert len([path for path in (home / "cache" / "bundles").iterdir() if not path.name.startswith(".")]) == 1
    assert not list((home / "cache" / "foreign").glob(".making-*"))


def test_a_cached_bundle_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    """It is verified whenever it is used."""
    model = str(linear(tmp_path / "sum.onnx"))
    cached = next(resolve(model).rglob("*.onnx"))
    cached.chmod(0o644)
    cached.write_bytes(b"damaged")
    out = scored(Path(model), pd.DataFrame({"a": [1.0], "b": [2.0]}))
    assert out["prediction_1"].tolist() == [2.0]


def test_tensors_in_a_file_of_their_own_belong_to_the_model(tmp_path: Path) -> None:
    """Other weights are another bundle, though the .onnx file is the same."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 1], np.ones(2, np.float32).tobytes(), raw=True)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "weighted", [given], [result], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, "m.onnx", save_as_external_data=True, location="other-name.bin", size_threshold=0)
    table = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert scored(tmp_path / "m.onnx", table)["prediction"].tolist() == [3.0]
    Path("other-name.bin").write_bytes(np.full(2, 2, np.float32).tobytes())
    assert scored(tmp_path / "m.onnx", table)["prediction"].tolist() == [6.0]


def test_a_skops_file_is_run_and_what_it_may_make_is_named_by_the_user(tmp_path: Path) -> None:
    """Types that skops does not know are listed with the option that trusts them; trust is no property of the file."""
    tree = DecisionTreeClassifier(random_state=0).fit(IRIS.data, IRIS.target)
    skops.io.dump(tree, tmp_path / "tree.skops")
    out = scored(tmp_path / "tree.skops", IRIS.data, trust_types=[TREE], allow_pickle=False)
    assert out["prediction"].tolist() == tree.predict(IRIS.data).tolist()
    with pytest.raises(BundleError, match=f"nobody has trusted: {TREE}; .*--trust-type {TREE}$"):
        resolve("tree.skops")


@pytest.mark.parametrize(
    "line",
    [
        "info MODEL",
        "open-api-spec MODEL",
        "manifest compose MODEL",
        "manifest kubernetes --serve MODEL",
        "containerize MODEL",
        "env build MODEL",
        "run MODEL predict --input 1",
        "compare MODEL MODEL --input 1",
        "serve MODEL",
        "serve-gunicorn MODEL --port 0",
    ],
)
def test_every_command_that_takes_a_model_file_takes_the_types_that_it_may_make(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shown by what refuses them for a model that has none."""
    linear(tmp_path / "model.onnx")
    words = [*line.replace("MODEL", "model.onnx").split(), "--trust-type", TREE]
    assert main(words) == 2
    assert "--trust-type is for .skops files" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.onnx", "bundle"])
def test_trust_in_types_is_for_skops_files(name: str, tmp_path: Path) -> None:
    """Elsewhere it would say nothing."""
    linear(tmp_path / "model.onnx")
    with pytest.raises(UsageError, match=r"--trust-type is for \.skops files"):
        resolve(name, trust_types=["builtins.print"])


@pytest.mark.parametrize("name", ["model.onnx", "model.skops"])
def test_a_pickle_under_another_name_is_never_loaded(name: str, tmp_path: Path) -> None:
    """Not by its content either (CVE-2025-54886)."""
    (tmp_path / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(BundleError, match=name) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_a_file_that_is_not_there_is_no_tag(tmp_path: Path) -> None:
    """model.onnx could be read as a name."""
    with pytest.raises(NoInputError, match=r"no model at 'model\.onnx': there is no such file"):
        resolve("model.onnx")


def test_a_library_that_crashes_is_one_line(tmp_path: Path) -> None:
    """The model is read in another process, which finds its modules where this one does."""
    linear(tmp_path / "sum.onnx")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text("import os\nos.abort()\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), str(ROOT)])}
    command = [sys.executable, "-m", "bentobatch", "info", "sum.onnx"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 65
    assert "sum.onnx' ended the process that read it with status -6" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_modules_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    """A folder of models may hold anything."""
    linear(tmp_path / "sum.onnx")
    (tmp_path / "onnxruntime.py").write_text("open('canary', 'w')\n")
    assert read_manifest(resolve("sum.onnx")).service_name == "OnnxModel"
    assert not (tmp_path / "canary").exists()


def test_the_signature_of_an_mlflow_model_is_the_input_schema(tmp_path: Path) -> None:
    """Names and types go into the bundle; nothing is imported, unpickled or run for it."""
    folder = mlflow_folder(tmp_path / "churn")
    (folder / "requirements.txt").write_text(
        "mlflow==3.1\nsome-library[extra]>=2,<3\n--index-url https://elsewhere\n-e .\n"
    )
    manifest = read_manifest(resolve(str(folder)))
    assert manifest.content["apis"][0]["input_schema"] == {"a": "int64", "b": "string"}
    assert manifest.content["artifacts"][0]["feature_names"] == ["a", "b"]
    needed = [line for line in manifest.content["env"]["pip_packages"] if not line.startswith(("bentobatch", "pandas"))]
    assert needed == ["mlflow==3.1", "some-library[extra]>=2,<3"]
    assert not (tmp_path / "canary").exists()


def test_an_mlflow_model_of_a_pickle_is_refused_where_pickles_are(tmp_path: Path) -> None:
    """Before MLflow is imported."""
    folder = mlflow_folder(tmp_path / "churn", pickled_model="model.pkl")
    with pytest.raises(BundleError, match="MLflowModelArtifact 'model' is stored as a pickle"):
        scored(folder, pd.DataFrame({"a": [1], "b": ["x"]}), allow_pickle=False)
    assert not (tmp_path / "canary").exists()


def test_without_mlflow_the_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is MLflow's business."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingDependencyError, match=r"pip install bentobatch\[mlflow\]$"):
        scored(mlflow_folder(tmp_path / "churn"), pd.DataFrame({"a": [1], "b": ["x"]}))


def test_a_model_is_served_and_loaded_like_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``bentobatch serve MODEL``, and ``bentobatch.load``; types that a .skops file may make are named there too."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    tree = DecisionTreeClassifier(random_state=0).fit(IRIS.data, IRIS.target)
    skops.io.dump(tree, tmp_path / "tree.skops")
    with serve_way("tree.skops", {"trust_type": TREE}) as way:
        answer = way.request("POST", "/predict", {"Content-Type": "application/json"}, b"[[5.1, 3.5, 1.4, 0.2]]")
    assert (answer.status, json.loads(answer.body)) == (200, [0])
    linear(tmp_path / "sum.onnx")
    rows = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert bentobatch.load("sum.onnx").predict(rows).tolist() == [[1.0, 2.0]]


def test_info_shows_the_bundle_that_would_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As for any bundle."""
    linear(tmp_path / "sum.onnx")
    assert main(["info", "sum.onnx"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["digest"] == read_manifest(resolve("sum.onnx")).digest
    assert shown["artifacts"][0]["artifact_type"] == "OnnxModelArtifact"
