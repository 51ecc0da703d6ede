"""This module tests --no-pickle with the types of MLflow, spaCy, fastText and H2O."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, ClassVar

import fasttext
import h2o
import pytest
import spacy

import bentobatch
from bentobatch.errors import BundleError
from bentobatch.frameworks.h2o import connect
from tests.conformance.no_pickle_suite import PickledSuite, PlainSuite, canaries, plant
from tests.heavy.small.test_fasttext import train
from tests.heavy.small.test_h2o import trained
from tests.heavy.small.test_mlflow import save

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, and of H2O's sockets

BESIDE = frozenset(f"model_mlflow/{name}" for name in ("conda.yaml", "python_env.yaml", "requirements.txt"))
"""What MLflow writes for people and for other tools."""


class TestSpacy(PlainSuite):
    kind = "SpacyModelArtifact"

    def make_model(self) -> Any:
        nlp = spacy.blank("en")
        nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ann"}])
        return nlp


class TestFasttext(PlainSuite):
    kind = "FasttextModelArtifact"

    def make_model(self) -> Any:
        return fasttext.load_model(str(self.trained))

    @pytest.fixture(autouse=True)
    def given(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.trained = train(tmp_path_factory.mktemp("trained"))


class TestH2o(PlainSuite):
    kind = "H2oModelArtifact"

    def make_model(self) -> Any:
        connect("these tests")
        h2o.no_progress()
        return trained()


class TestMlflowOfPickles(PickledSuite):
    kind = "MLflowModelArtifact"

    @pytest.fixture(autouse=True)
    def given(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("mlflow")

    def make_model(self) -> Any:
        return save("sklearn", self.folder)

    def test_the_canary_sings_where_pickles_are_allowed(self, tmp_path: Path) -> None:
        """Here the description must stay, which says that there is a pickle."""
        canary = tmp_path / "canary"
        bundle, _ = self.saved(tmp_path)
        plant(bundle, {"model_mlflow/model.pkl": canaries(canary)["pickle"]})
        with contextlib.suppress(BundleError):
            bentobatch.load(bundle)
        assert canary.exists()


class TestMlflowOfXgboost(PlainSuite):
    kind = "MLflowModelArtifact"
    auxiliary: ClassVar = BESIDE

    @pytest.fixture(autouse=True)
    def given(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("mlflow")

    def make_model(self) -> Any:
        return save("xgboost", self.folder)


def test_a_description_that_lies_about_its_library_is_not_believed(tmp_path: Path) -> None:
    """An XGBoost flavor whose class is another library's, and code of the model's own: both could unpickle."""
    for change in (
        ("model_class: xgboost.sklearn.XGBClassifier", "model_class: joblib.numpy_pickle.NumpyUnpickler"),
        ("code: null", "code: code"),
        ("loader_module: mlflow.xgboost", "loader_module: mlflow.sklearn"),
    ):
        folder = Path(save("xgboost", tmp_path / change[1].partition(":")[2].strip()))
        text = (folder / "MLmodel").read_text()
        assert change[0] in text
        (folder / "MLmodel").write_text(text.replace(*change))
        with pytest.raises(BundleError, match="pickles are refused here"):
            bentobatch.load(folder, allow_pickle=False)
