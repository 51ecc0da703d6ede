"""This module tests SpacyModelArtifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import spacy

from bentobatch.frameworks.spacy import SpacyModelArtifact
from bentobatch.legacy.artifacts import artifact
from tests.conformance.framework_suite import FrameworkSuite

TEXTS = ["Ann met Bob in Rome.", "Nothing of note.", "Bob and Bob again"]


def pipeline() -> Any:
    """Rules and a small trained component."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("entity_ruler")
    categories = nlp.add_pipe("textcat")
    for label in ("dull", "lively"):
        categories.add_label(label)
    examples = [
        spacy.training.Example.from_dict(
            nlp.make_doc(text), {"cats": {"dull": float(not people), "lively": float(people)}}
        )
        for text, people in zip(TEXTS, (1, 0, 1), strict=True)
    ]
    nlp.initialize(lambda: examples)
    ruler.add_patterns([{"label": "PERSON", "pattern": name} for name in ("Ann", "Bob")])  # initialize forgets them
    return nlp


class TestSpacyModelArtifact(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> SpacyModelArtifact:
        return SpacyModelArtifact(name)

    def make_model(self) -> Any:
        return pipeline()

    def predict(self, model: Any) -> Any:
        docs = list(model.pipe(TEXTS))
        return np.array([[len(doc.ents), doc.cats["lively"]] for doc in docs])


def test_the_folder_of_bentoml_is_read(tmp_path: Path) -> None:
    """There it is called like the artifact alone."""
    model = pipeline()
    model.to_disk(tmp_path / "nlp")
    loaded = artifact("SpacyModelArtifact")("nlp").load(tmp_path).get()
    assert [len(doc.ents) for doc in loaded.pipe(TEXTS)] == [2, 0, 2]
