"""This module tests that bundles of BentoML 0.13 with models of PyTorch and Transformers load as they are."""

from __future__ import annotations

import platform
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch

from bentobatch.errors import BundleError
from tests.heavy.torch import nets
from tests.heavy.torch.test_transformers import classifier, predicted, tokenizer
from tests.legacy.layout import service_of

ROWS = torch.arange(6, dtype=torch.float32).reshape(3, 2)
PYTORCH = """
from bentoml.frameworks.pytorch import PytorchModelArtifact

@bentoml.artifacts([PytorchModelArtifact('net')])
class Doubler(bentoml.BentoService):
    pass
"""
LIGHTNING = PYTORCH.replace("PytorchModel", "PytorchLightningModel")
TRANSFORMERS = """
from bentoml.frameworks.transformers import TransformersModelArtifact

@bentoml.artifacts([TransformersModelArtifact('bert')])
class Doubler(bentoml.BentoService):
    pass
"""


def script(folder: Path) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(nets.Net()), folder / "script.pt")
    return (folder / "script.pt").read_bytes()


@pytest.mark.parametrize("body", [PYTORCH, LIGHTNING], ids=["pytorch", "lightning"])
def test_torchscript_is_read(body: str, tmp_path: Path) -> None:
    """<name>.pt, whatever Python wrote the bundle."""
    service = service_of(tmp_path, body, files={"artifacts/net.pt": script(tmp_path)})
    assert torch.equal(service.artifacts.net(ROWS), nets.Net()(ROWS))


def test_a_pickled_module_of_the_bundles_own_code_is_read(tmp_path: Path) -> None:
    """By reference to a module that the bundle has, and this process has not."""
    source = "import torch\n\nclass Own(torch.nn.Module):\n    def forward(self, rows):\n        return rows * 3\n"
    space: dict[str, Any] = {"__name__": "own_networks"}
    exec(source, space)
    with pytest.MonkeyPatch.context() as patch:
        module = type(torch)("own_networks")
        vars(module).update(space)
        patch.setitem(__import__("sys").modules, "own_networks", module)
        data = cloudpickle.dumps(space["Own"]())
    service = service_of(tmp_path, PYTORCH, files={"artifacts/net.pt": data, "own_networks.py": source})
    assert torch.equal(service.artifacts.net(ROWS), ROWS * 3)


def test_a_module_pickled_by_value_is_read_by_the_same_python_only(tmp_path: Path) -> None:
    """Byte code is a Python's own; another one's is refused by name."""
    space: dict[str, Any] = {"torch": torch, "__name__": "__main__"}
    exec("class Own(torch.nn.Module):\n    def forward(self, rows):\n        return rows * 3\n", space)
    data = cloudpickle.dumps(space["Own"]())
    for python, loads in ((platform.python_version(), True), ("3.8.18", False)):
        folder = tmp_path / python
        if loads:
            service = service_of(folder, PYTORCH, files={"artifacts/net.pt": data}, python=python)
            assert torch.equal(service.artifacts.net(ROWS), ROWS * 3)
        else:
            with pytest.raises(BundleError, match=r"Python 3\.8"):
                service_of(folder, PYTORCH, files={"artifacts/net.pt": data}, python=python)


def test_a_model_of_transformers_is_read(tmp_path: Path) -> None:
    """One folder of the artifact's name, with the weights of then."""
    written = tmp_path / "written"
    classifier().save_pretrained(written)
    tokenizer().save_pretrained(written)
    (written / "model.safetensors").unlink()
    torch.save(classifier().state_dict(), written / "pytorch_model.bin")
    (written / "_model_type.txt").write_text("BertForSequenceClassification")
    (written / "tokenizer_type.txt").write_text("PreTrainedTokenizerFast")
    files = {f"artifacts/bert/{path.name}": path.read_bytes() for path in written.iterdir()}
    service = service_of(tmp_path, TRANSFORMERS, files=files)
    wanted = predicted({"model": classifier(), "tokenizer": tokenizer()})
    assert (predicted(service.artifacts.bert) == wanted).all()
