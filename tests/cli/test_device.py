"""This module tests --device of the command line, with an ONNX model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.frameworks.test_onnx import linear

SERVICE = """
import bentobatch
from bentobatch.adapters import NumpyInput
from bentobatch.frameworks.onnx import OnnxModelArtifact


@bentobatch.artifacts([OnnxModelArtifact("net")])
class OnDevice(bentobatch.BentoService):
    @bentobatch.api(input=NumpyInput(dtype="float32"), batch=True)
    def predict(self, rows):
        print(self.artifacts.net.get_providers())
        return self.artifacts.net.run(None, {"x": rows})[0][:, 0]
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device")
    (folder / "bentobatch_onnx_service.py").write_text(SERVICE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        service = __import__("bentobatch_onnx_service").OnDevice()
        service.pack("net", linear())
        service.save_to_dir(str(folder / "bundle"))
    return folder / "bundle"


def bentobatch(bundle: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bentobatch", "run", str(bundle), "--input", "[[1, 2, 3, 4]]", "--quiet", *options]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_the_device_comes_from_the_option_or_the_environment(bundle: Path) -> None:
    """The option goes first."""
    done = bentobatch(bundle, "--device", "cpu", BENTOBATCH_DEVICE="cuda:99")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    refused = bentobatch(bundle, BENTOBATCH_DEVICE="cuda:99")
    assert refused.returncode == 2
    assert "the device cuda:99 is not available here" in refused.stderr


@pytest.mark.parametrize(
    ("device", "told"), [("cuda:99", "is not available here"), ("gpu", "--device 'gpu' is no device")]
)
def test_a_device_that_is_not_there_is_a_usage_error_in_one_line(device: str, told: str, bundle: Path) -> None:
    """Exit 2."""
    done = bentobatch(bundle, "--device", device)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
