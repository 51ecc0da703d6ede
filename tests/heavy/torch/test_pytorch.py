"""This module tests PytorchModelArtifact and PytorchLightningModelArtifact with torch and Lightning."""

from __future__ import annotations

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import lightning
import numpy as np
import pytest
import torch

from bentobatch.devices import on_device
from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.pytorch import PytorchLightningModelArtifact, PytorchModelArtifact
from bentobatch.frameworks.unpickle import pickles_refused
from tests.conformance.framework_suite import FrameworkSuite
from tests.heavy.torch import nets

ROWS = torch.arange(6, dtype=torch.float32).reshape(3, 2)


def scripted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nets.Net())


def exported() -> Any:
    batch = torch.export.Dim.DYNAMIC
    return torch.export.export(nets.Net().eval(), (ROWS,), dynamic_shapes=({0: batch},))


class TestWholeModule(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return PytorchModelArtifact(name)

    def make_model(self) -> Any:
        return nets.Net()

    def predict(self, model: Any) -> Any:
        with torch.no_grad():
            return model(ROWS).numpy()

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        model = nets.Net()
        model.function = function
        return model

    def apply_model_with(self, model: Any) -> float:
        return float(model.function(1.0))


class TestState(TestWholeModule):
    """module= is given, so that only tensors are stored."""

    make_model_with = FrameworkSuite.make_model_with

    def make_artifact(self, name: str = "model") -> Any:
        return PytorchModelArtifact(name, module=nets.Net)


class TestTorchScript(TestWholeModule):
    make_model_with = FrameworkSuite.make_model_with

    def make_model(self) -> Any:
        return scripted()


class TestExportedProgram(TestTorchScript):
    def make_model(self) -> Any:
        return exported()


class TestLightning(TestTorchScript):
    def make_artifact(self, name: str = "model") -> Any:
        return PytorchLightningModelArtifact(name)

    def make_model(self) -> Any:
        return nets.LightningNet()


def test_the_files_are_those_of_the_form(tmp_path: Path) -> None:
    """One for each of the four ways to keep a model."""
    forms: list[tuple[Any, Any, str, bool]] = [
        (PytorchModelArtifact("net"), nets.Net(), "net.pt", True),
        (PytorchModelArtifact("net", ".pth"), scripted(), "net.pth", False),
        (PytorchModelArtifact("net", module=nets.Net), nets.Net(), "net.state.pt", False),
        (PytorchModelArtifact("net"), exported(), "net.pt2", False),
    ]
    for number, (artifact, model, file, uses_pickle) in enumerate(forms):
        folder = tmp_path / str(number)
        folder.mkdir()
        artifact.pack(model).save_model(folder)
        assert [path.name for path in folder.iterdir()] == [file]
        assert artifact.uses_pickle == uses_pickle


def test_a_loaded_model_is_ready_to_predict(tmp_path: Path) -> None:
    """In evaluation mode, so that dropout does not make every run another one; without gradients."""
    model = nets.WithDropout().train()
    PytorchModelArtifact("net", module=nets.WithDropout).pack(model).save_model(tmp_path)
    loaded = PytorchModelArtifact("net", module=nets.WithDropout).load(tmp_path).get()
    assert not loaded.training
    assert not loaded(ROWS).requires_grad
    assert torch.equal(loaded(ROWS), loaded(ROWS))
    assert model.training  # the user's own is left alone


def test_a_module_that_module_does_not_make_is_refused() -> None:
    """When packing, not when the bundle is loaded elsewhere."""
    with pytest.raises(UsageError, match="WithDropout, which is no Net"):
        PytorchModelArtifact("net", module=nets.WithDropout).pack(nets.Net())
    with pytest.raises(UsageError, match="size mismatch"):
        PytorchModelArtifact("net", module=lambda: nets.Net(7)).pack(nets.Net())


def test_a_state_with_other_objects_is_refused(tmp_path: Path) -> None:
    """It would have to be unpickled."""
    artifact = PytorchModelArtifact("net", module=nets.WithExtraState).pack(nets.WithExtraState())
    with pytest.raises(UsageError, match="holds more than tensors"):
        artifact.save_model(tmp_path)


class Canary:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def poisoned_export(path: Path, canary: Path, place: str) -> None:
    """An exported program in which a pickle was put, where torch.export.load would read it."""
    torch.export.save(exported(), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    poison = io.BytesIO()
    torch.save((Canary(canary),), poison)
    top = next(iter(parts)).partition("/")[0]
    if place == "sample_inputs":
        parts[f"{top}/data/sample_inputs/model.pt"] = poison.getvalue()
    elif place == "weights":
        config = json.loads(parts[f"{top}/data/weights/model_weights_config.json"])
        entry = next(iter(config["config"].values()))
        entry["use_pickle"] = True
        parts[f"{top}/data/weights/model_weights_config.json"] = json.dumps(config).encode()
        parts[f"{top}/data/weights/{entry['path_name']}"] = poison.getvalue()
    else:
        meta = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
        parts[f"{top}/data/constants/model_constants_config.json"] = json.dumps({"config": {"c": meta}}).encode()
        parts[f"{top}/data/constants/opaque_obj_0"] = pickle.dumps(Canary(canary))
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in parts.items():
        inner = name.partition("/")[2]
        if not inner.startswith(".data/") and inner != "version":
            writer.write_record(inner, data, len(data))
    writer.write_end_of_file()


@pytest.mark.parametrize("place", ["sample_inputs", "weights", "constants"])
def test_a_pickle_in_an_exported_program_is_never_run(place: str, tmp_path: Path) -> None:
    """torch.export.load would run it, which the first half shows for two of the three."""
    canary, path = tmp_path / "canary", tmp_path / "net.pt2"
    poisoned_export(path, canary, place)
    with pytest.raises(BundleError, match=r"net\.pt2 holds pickles"):
        PytorchModelArtifact("net").load(tmp_path)
    assert not canary.exists()
    if place != "constants":
        with pytest.raises(Exception):  # noqa: B017, PT011 - the point is the canary
            torch.export.load(path)
        assert canary.exists()


def test_a_pickle_as_a_state_is_never_run(tmp_path: Path) -> None:
    """weights_only."""
    torch.save(Canary(tmp_path / "canary"), tmp_path / "net.state.pt")
    with pytest.raises(BundleError, match=r"net\.state\.pt"):
        PytorchModelArtifact("net", module=nets.Net).load(tmp_path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", ["torch.save", "cloudpickle"])
@pytest.mark.parametrize("artifact", [PytorchModelArtifact("net"), PytorchLightningModelArtifact("net")], ids=type)
def test_no_pickle_is_exact_whatever_the_file_is(artifact: Any, kind: str, tmp_path: Path) -> None:
    """A file of torch.save, or a bare pickle, under the name that TorchScript has as well."""
    path = tmp_path / "net.pt"
    if kind == "torch.save":
        torch.save(Canary(tmp_path / "canary"), path)
    else:
        path.write_bytes(cloudpickle.dumps(Canary(tmp_path / "canary")))
    token = pickles_refused.set(True)
    try:
        with pytest.raises(BundleError, match=r"net\.pt"):
            artifact.load(tmp_path)
    finally:
        pickles_refused.reset(token)
    assert not (tmp_path / "canary").exists()


def test_a_module_of_main_is_kept_by_value(tmp_path: Path) -> None:
    """As PickleArtifact does; a notebook's class is found again elsewhere."""
    source = "class Own(torch.nn.Module):\n    def forward(self, x):\n        return x * 3\n"
    space: dict[str, Any] = {"torch": torch, "__name__": "__main__"}
    exec(source, space)
    PytorchModelArtifact("net").pack(space["Own"]()).save_model(tmp_path)
    np.testing.assert_array_equal(PytorchModelArtifact("net").load(tmp_path).get()(ROWS), ROWS * 3)


def test_a_gpu_that_is_not_there_is_a_line(tmp_path: Path) -> None:
    """Asked for by name; auto is the CPU where there is none."""
    PytorchModelArtifact("net").pack(nets.Net()).save_model(tmp_path)
    with on_device("cuda:77"), pytest.raises(UsageError, match=r"device cuda:77 is not available here.*--device auto"):
        PytorchModelArtifact("net").load(tmp_path)
    with on_device("cpu"):
        assert PytorchModelArtifact("net").load(tmp_path).loaded_on == "cpu"


def test_lightning_takes_a_file_of_torchscript(tmp_path: Path) -> None:
    """As BentoML's took a path."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(scripted(), tmp_path / "made.pt")
    artifact = PytorchLightningModelArtifact("net").pack(tmp_path / "made.pt")
    assert artifact.get()(ROWS).shape == (3, 1)
    with pytest.raises(UsageError, match="LightningModule, not a Net"):
        PytorchLightningModelArtifact("net").pack(nets.Net())
    assert lightning.__version__
