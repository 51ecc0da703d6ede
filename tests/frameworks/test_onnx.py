"""This module tests OnnxModelArtifact with ONNX Runtime itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bentobatch.devices import VARIABLE, on_device
from bentobatch.errors import BundleError, MissingDependencyError, UsageError
from bentobatch.frameworks.onnx import OnnxModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


def linear(inputs: int = 4) -> Any:
    """x @ w + b over rows of ``inputs`` values."""
    weights = np.arange(inputs, dtype=np.float32).reshape(inputs, 1) / 7
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([0.5], np.float32), "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def sum_of_columns() -> Any:
    """a + b, each an input of its own, as converters of table models make them."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("a", "b")]
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["z"])], "sum", inputs, [output])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def with_data_beside(path: Path, location: str = "weights.bin") -> Path:
    """The linear model in a file, its weights in another one."""
    onnx.save(linear(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location != "weights.bin":
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = location
        path.write_bytes(model.SerializeToString())
    return path


class TestModelProto(FrameworkSuite):
    feature_count = 4

    def make_artifact(self, name: str = "model") -> OnnxModelArtifact:
        return OnnxModelArtifact(name)

    def make_model(self) -> Any:
        return linear()

    def predict(self, model: Any) -> Any:
        return model.run(None, {"x": ROWS})[0]


class TestColumns(TestModelProto):
    feature_names: ClassVar = ["a", "b"]
    feature_count = 2

    def make_model(self) -> Any:
        return sum_of_columns()

    def predict(self, model: Any) -> Any:
        return model.run(None, {"a": ROWS[:, :1], "b": ROWS[:, 1:2]})[0]


class TestDataBeside(TestModelProto):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.elsewhere = tmp_path_factory.mktemp("exported")

    def make_model(self) -> Any:
        return str(with_data_beside(self.elsewhere / "linear.onnx"))


def test_data_beside_goes_into_a_file_of_the_artifacts_name(tmp_path: Path) -> None:
    """Whatever the exporter called it; and what was packed does not depend on the file any more."""
    (tmp_path / "bundle").mkdir()
    path = with_data_beside(tmp_path / "linear.onnx")
    artifact = OnnxModelArtifact("net").pack(path)
    for file in (path, tmp_path / "weights.bin"):
        file.unlink()
    artifact.save_model(tmp_path / "bundle")
    assert sorted(os.listdir(tmp_path / "bundle")) == ["net.onnx", "net.onnx.data"]
    assert OnnxModelArtifact("net").load(tmp_path / "bundle").get().run(None, {"x": ROWS})[0].shape == (3, 1)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "folder/../../secret.bin", "missing.bin"])
def test_data_that_is_not_beside_the_model_is_never_read(location: str, tmp_path: Path) -> None:
    """Neither when packing, where a model from elsewhere could name any file of this machine, nor when loading."""
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (tmp_path / "bundle").mkdir()
    path = with_data_beside(tmp_path / "bundle" / "model.onnx", location)
    with pytest.raises(UsageError, match=f"lies in '{location}'"):
        OnnxModelArtifact("model").pack(path)
    with pytest.raises(BundleError, match=f"lies in '{location}'"):
        OnnxModelArtifact("model").load(tmp_path / "bundle")


def test_weights_in_subgraphs_are_looked_at_too(tmp_path: Path) -> None:
    """A branch of If holds tensors of its own."""
    inner = linear().graph
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    inner.initializer[0].external_data.add(key="location", value="../secret.bin")
    condition = helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=linear().graph)
    model = helper.make_model(helper.make_graph([condition], "outer", [], []))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match="which is no file beside the model"):
        OnnxModelArtifact("model").load(tmp_path)


def test_a_missing_path_and_what_is_no_model_are_told(tmp_path: Path) -> None:
    """One line that names the file."""
    with pytest.raises(UsageError, match="there is no file"):
        OnnxModelArtifact("model").pack(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UsageError, match=r"text\.onnx is not a whole ONNX model"):
        OnnxModelArtifact("model").pack(tmp_path / "text.onnx")


def test_the_backend_is_bentomls(tmp_path: Path) -> None:
    """By position, as old services give it; it is what the bundle requires."""
    assert OnnxModelArtifact("model", "onnxruntime-gpu").pip_packages == ("onnx", "onnxruntime-gpu")
    assert OnnxModelArtifact("model").pip_packages == ("onnx", "onnxruntime")
    with pytest.raises(UsageError, match="backend 'tensorrt' is unknown"):
        OnnxModelArtifact("model", "tensorrt")


def test_a_gpu_that_is_not_there_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by the caller or by the environment; auto takes what there is."""
    assert OnnxModelArtifact("model").pack(linear()).loaded_on in ("cpu", "auto")
    with on_device("cpu"):
        artifact = OnnxModelArtifact("model").pack(linear())
    assert (artifact.loaded_on, artifact.get().get_providers()) == ("cpu", ["CPUExecutionProvider"])
    with on_device("cuda:99"), pytest.raises(UsageError, match=r"device cuda:99 is not available here.*--device cpu"):
        OnnxModelArtifact("model").pack(linear())
    monkeypatch.setenv(VARIABLE, "gpu")
    with pytest.raises(UsageError, match="BENTOBATCH_DEVICE 'gpu' is no device"):
        OnnxModelArtifact("model").pack(linear())


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_without_the_library_the_line_names_the_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Declaring the artifact needs nothing."""
    model = linear()
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(MissingDependencyError, match=r"pip install bentobatch\[onnx\]"):
        OnnxModelArtifact("model").pack(model)
