"""This module tests FasttextModelArtifact."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pytest

from bentobatch.frameworks.fasttext import FasttextModelArtifact
from bentobatch.legacy.artifacts import artifact
from tests.conformance.framework_suite import FrameworkSuite

TRAIN = """
import fasttext
options = {"epoch": 5, "minn": 2, "maxn": 3, "bucket": 1000, "verbose": 0, "thread": 1}
fasttext.train_supervised("corpus.txt", **options).save_model("trained.bin")
"""
WORDS = ["good", "ugly", "unknown"]


def train(folder: Path) -> Path:
    """A model that was trained in a new process: in an old one this fastText reads memory that it never wrote, and ends
    with "Encountered NaN"."""
    (folder / "corpus.txt").write_text("__label__fine good nice lovely\n__label__poor bad ugly awful\n" * 30)
    command = [sys.executable, "-c", TRAIN]
    for _ in range(20):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return folder / "trained.bin"
        assert "Encountered NaN" in done.stderr
    raise AssertionError(done.stderr)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trained"))


class TestFasttextModelArtifact(FrameworkSuite):
    @pytest.fixture(autouse=True)
    def given(self, trained: Path) -> None:
        self.trained = str(trained)

    def make_artifact(self, name: str = "model") -> FasttextModelArtifact:
        return FasttextModelArtifact(name)

    def make_model(self) -> Any:
        return fasttext.load_model(self.trained)

    def predict(self, model: Any) -> Any:
        labels, probabilities = model.predict(WORDS, k=2)
        return np.array([[*names, *map(str, values)] for names, values in zip(labels, probabilities, strict=True)])


def test_the_file_of_bentoml_is_read(tmp_path: Path, trained: Path) -> None:
    """There it has no ending."""
    model = fasttext.load_model(str(trained))
    model.save_model(str(tmp_path / "model"))
    loaded = artifact("FasttextModelArtifact")("model").load(tmp_path).get()
    assert loaded.predict(WORDS)[0] == model.predict(WORDS)[0]
