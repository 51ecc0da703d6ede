"""This module tests FastaiModelArtifact with a tabular learner."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.tabular.all import Normalize, RegressionBlock, TabularDataLoaders, tabular_learner

from bentobatch.errors import BundleError
from bentobatch.frameworks.fastai import FastaiModelArtifact
from bentobatch.frameworks.unpickle import pickles_refused
from tests.conformance.framework_suite import FrameworkSuite

FRAME = pd.DataFrame({"a": np.arange(40.0) % 7, "b": np.arange(40.0) % 5, "y": np.arange(40.0) % 2})


def learner() -> Any:
    torch.manual_seed(7)
    data = TabularDataLoaders.from_df(
        FRAME,
        y_names="y",
        cont_names=["a", "b"],
        cat_names=[],
        procs=[Normalize],
        bs=8,
        valid_idx=list(range(30, 40)),
        y_block=RegressionBlock(),
        num_workers=0,
    )
    return tabular_learner(data, layers=[4])


def predicted(model: Any) -> Any:
    with model.no_bar():
        return model.get_preds(dl=model.dls.test_dl(FRAME[["a", "b"]].head(3)))[0].numpy()


class TestLearner(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return FastaiModelArtifact(name)

    def make_model(self) -> Any:
        return learner()

    def predict(self, model: Any) -> Any:
        return predicted(model)

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        model = learner()
        model.model.function = function
        return model

    def apply_model_with(self, model: Any) -> float:
        return float(model.model.function(1.0))


def test_a_learner_is_as_it_was_after_it_was_saved(tmp_path: Path) -> None:
    """Its data is left out of the file, and still there."""
    model = learner()
    rows = len(model.dls.train_ds)
    FastaiModelArtifact("model").pack(model).save_model(tmp_path)
    assert len(model.dls.train_ds) == rows
    assert len(FastaiModelArtifact("model").load(tmp_path).get().dls.train_ds) == 0


def test_what_export_wrote_is_read(tmp_path: Path) -> None:
    """The form that bundles of BentoML 0.13 hold."""
    model = learner()
    model.export(tmp_path / "model.pkl")
    loaded = FastaiModelArtifact("model").load(tmp_path).get()
    np.testing.assert_array_equal(predicted(loaded), predicted(model))


@pytest.mark.parametrize("form", ["torch.save", "pickle"])
def test_no_pickle_refuses_both_forms(form: str, tmp_path: Path) -> None:
    """Nothing of them is run."""
    if form == "torch.save":
        torch.save(Canary(tmp_path), tmp_path / "model.pkl")
    else:
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(Canary(tmp_path)))
    token = pickles_refused.set(True)
    try:
        with pytest.raises(BundleError, match="pickles are refused here"):
            FastaiModelArtifact("model").load(tmp_path)
    finally:
        pickles_refused.reset(token)
    assert not (tmp_path / "canary").exists()


class Canary:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "canary")

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)
