"""This module tests what the artifacts of heavy libraries say where the library is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bentobatch import plugins
from bentobatch.errors import MissingDependencyError

MISSING = [
    ("PytorchModelArtifact", "torch", "torch"),
    ("PytorchLightningModelArtifact", "torch", "torch"),
    ("TransformersModelArtifact", "transformers", "transformers"),
    ("FastaiModelArtifact", "fastai", "fastai"),
    ("TensorflowSavedModelArtifact", "tensorflow", "tensorflow"),
    ("KerasModelArtifact", "keras", "keras"),
    ("PaddlePaddleModelArtifact", "paddle", "paddle"),
    ("CoreMLModelArtifact", "coremltools", "coreml"),
]
EXTRAS = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "library", "extra"), MISSING)
def test_a_missing_library_is_told_with_the_extra(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Declaring the artifact needs no library; packing and loading do, and say what to install."""
    for module in [key for key in sys.modules if key.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    artifact = plugins.find("frameworks", name)("model")
    told = rf"{name} 'model' needs the library {library}.*pip install bentobatch\[{extra}\]"
    with pytest.raises(MissingDependencyError, match=told):
        artifact.pack(object())
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match=told):
        artifact.load(tmp_path)
    assert f"\n{extra} = [" in EXTRAS
