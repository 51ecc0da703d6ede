"""This module tests SkopsModelArtifact."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import pytest
import skops.io
from sklearn import datasets
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.skops import SkopsModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

IRIS = datasets.load_iris(as_frame=True)


class Own(BaseEstimator):  # type: ignore[misc]
    """A type that skops does not know."""

    def __init__(self, step: float = 1.0) -> None:
        self.step = step

    def fit(self, features: Any, labels: Any = None) -> Own:
        return self


class Canary:
    """Unpickling it makes the file that it was given."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


OWN = f"{Own.__module__}.Own"


class TestSkopsModelArtifact(FrameworkSuite):
    feature_names: ClassVar = list(IRIS.data.columns)
    feature_count = 4
    classes: ClassVar = [0, 1, 2]

    def make_artifact(self, name: str = "model") -> SkopsModelArtifact:
        return SkopsModelArtifact(name)

    def make_model(self) -> Any:
        return make_pipeline(StandardScaler(), SVC(gamma="scale")).fit(IRIS.data, IRIS.target)

    def predict(self, model: Any) -> Any:
        return model.decision_function(IRIS.data)

    def wrong_models(self) -> list[Any]:
        return ["no-such-file.skops", object(), SVC]


class TestWithTrust(TestSkopsModelArtifact):
    feature_names = None
    feature_count = None
    classes = None

    def make_artifact(self, name: str = "model") -> SkopsModelArtifact:
        return SkopsModelArtifact(name, trusted=[OWN])

    def make_model(self) -> Any:
        return Own(step=0.25)

    def predict(self, model: Any) -> Any:
        return model.step


def test_types_that_nobody_trusted_are_listed_and_refused(tmp_path: Path) -> None:
    """Packed and loaded: the error names each, and how to trust it; nothing of the file was made."""
    skops.io.dump(make_pipeline(Own(), SVC()), tmp_path / "model.skops")
    for attempt in (
        lambda: SkopsModelArtifact("model").load(tmp_path),
        lambda: SkopsModelArtifact("model").pack(tmp_path / "model.skops"),
    ):
        with pytest.raises(BundleError, match=f"nobody has trusted: {OWN}; .*--trust-type {OWN}$") as caught:
            attempt()
        assert str(tmp_path / "model.skops") in str(caught.value)


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    """What would be refused where it is loaded is refused where it is saved."""
    artifact = SkopsModelArtifact("model")
    artifact.pack(Own())
    with pytest.raises(UsageError, match="nobody has trusted"):
        artifact.save_model(tmp_path)


def test_trusting_one_type_trusts_no_other(tmp_path: Path) -> None:
    """By the full name, not by a part of it."""
    skops.io.dump(make_pipeline(FunctionTransformer(print), Own()), tmp_path / "model.skops")
    with pytest.raises(BundleError, match=r"nobody has trusted: builtins\.print;"):
        SkopsModelArtifact("model", trusted=[OWN]).load(tmp_path)


@pytest.mark.parametrize("form", ["plain", "zipped"])
def test_a_pickle_under_the_name_of_a_skops_file_is_never_loaded(form: str, tmp_path: Path) -> None:
    """No falling back to joblib or pickle, by extension or by content (CVE-2025-54886)."""
    data = pickle.dumps(Canary(tmp_path / "canary"))
    if form == "plain":
        (tmp_path / "model.skops").write_bytes(data)
    else:
        with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
            archive.writestr("schema.json", data)
    with pytest.raises(BundleError, match=r"model\.skops"):
        SkopsModelArtifact("model").load(tmp_path)
    assert not (tmp_path / "canary").exists()


def test_trust_is_a_list_of_names() -> None:
    """One text, or True as older versions of skops had it, is no list."""
    for wrong in ("sklearn", [True]):
        with pytest.raises(UsageError, match="trusted is a list"):
            SkopsModelArtifact("model", trusted=wrong)  # type: ignore[list-item]
