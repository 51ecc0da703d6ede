"""This module tests PickleArtifact."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import pytest
from sklearn import datasets
from sklearn.svm import SVC

from bentobatch.errors import UsageError
from bentobatch.frameworks.pickle import PickleArtifact
from tests.conformance.framework_suite import FrameworkSuite


class TestPickleArtifact(FrameworkSuite):
    takes_anything = True

    def make_artifact(self, name: str = "model") -> PickleArtifact:
        return PickleArtifact(name)

    def make_model(self) -> Any:
        return {"weights": [1.5, 2.5], "bias": -1}

    def predict(self, model: Any) -> Any:
        return [weight * 2 + model["bias"] for weight in model["weights"]]

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        return {"function": function}

    def apply_model_with(self, model: Any) -> float:
        return float(model["function"](1.0))


class TestPickleArtifactOfPickle(TestPickleArtifact):
    def make_artifact(self, name: str = "model") -> PickleArtifact:
        return PickleArtifact(name, pickle_module=pickle)


def test_a_function_of_nowhere_is_stored_with_its_code(tmp_path: Path) -> None:
    """cloudpickle stores by value what nobody could import."""
    offset = 5
    PickleArtifact("model").pack(lambda x: x + offset).save_model(tmp_path)
    assert PickleArtifact("model").load(tmp_path).get()(2) == 7


def test_what_cannot_be_pickled_is_refused_at_saving(tmp_path: Path) -> None:
    """One line that names the artifact and what to leave out."""
    with (
        open(__file__) as file,
        pytest.raises(UsageError, match=r"PickleArtifact 'model'.*cannot be pickled.*open files"),
    ):
        PickleArtifact("model", "pickle").pack({"log": file}).save_model(tmp_path)


@pytest.mark.parametrize("given", ["cloudpickle", cloudpickle])
def test_the_pickle_module_is_taken_by_name_or_as_a_module(given: Any) -> None:
    """Both are found in services written for BentoML 0.13."""
    assert PickleArtifact("model", pickle_module=given).config() == {"pickle_module": "cloudpickle"}


@pytest.mark.parametrize("given", ["dill", joblib])
def test_another_pickle_module_is_refused(given: Any) -> None:
    """Its files would need another reader than the one place that may unpickle."""
    with pytest.raises(UsageError, match="pickle_module"):
        PickleArtifact("model", pickle_module=given)


def test_a_model_of_scikit_learns_manner_tells_its_features() -> None:
    """Many services of old keep their scikit-learn models in a PickleArtifact."""
    iris = datasets.load_iris(as_frame=True)
    artifact = PickleArtifact("model").pack(SVC().fit(iris.data, iris.target))
    assert artifact.feature_names() == list(iris.data.columns)
    assert artifact.feature_count() == 4
    assert artifact.classes() == [0, 1, 2]
