"""This module gives the tests of faults a bundle whose answers are known without it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = '''
import os
import sys

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.json import JSONArtifact

FEATURES = DataframeInput(columns=["x0", "x1", "x2"], dtype="float64")


@bentobatch.artifacts([JSONArtifact("weights")])
class Weighted(bentobatch.BentoService):
    """x0 - 2 x1 + 0.5 x2, and the ways to break the contract."""

    @bentobatch.api(input=FEATURES, batch=True)
    def predict(self, df):
        a, b, c = self.artifacts.weights
        assert [str(dtype) for dtype in df.dtypes] == ["float64"] * 3
        return a * df["x0"] + b * df["x1"] + c * df["x2"]

    @bentobatch.api(input=FEATURES, batch=True)
    def short(self, df):
        return df["x0"].iloc[:-1]

    @bentobatch.api(input=FEATURES, batch=True)
    def sys_exit(self, df):
        sys.exit(0)

    @bentobatch.api(input=FEATURES, batch=True)
    def os_exit(self, df):
        os._exit(0)

    @bentobatch.api(input=FEATURES, batch=True)
    def raises(self, df):
        raise RuntimeError("the model\\nis broken")

    @bentobatch.api(input=DataframeInput(columns=["x0", "x1"]), batch=True)
    def undeclared(self, df):
        return df["x0"].isna() * 1.0 + df["x1"].sum() * 0
'''


@pytest.fixture(scope="session")
def weighted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bundle with the features x0, x1 and x2, declared as float64."""
    folder = tmp_path_factory.mktemp("weighted")
    (folder / "bentobatch_nasty_services.py").write_text(SERVICES)
    sys.path.insert(0, str(folder))
    try:
        service = importlib.import_module("bentobatch_nasty_services").Weighted()
        service.pack("weights", [1.0, -2.0, 0.5])
        yield Path(service.save_to_dir(str(folder / "bundle")))
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("bentobatch_nasty_services", None)
