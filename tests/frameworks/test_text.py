"""This module tests TextFileArtifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bentobatch.errors import UsageError
from bentobatch.frameworks.text import TextFileArtifact
from tests.conformance.framework_suite import FrameworkSuite


class TestTextFileArtifact(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> TextFileArtifact:
        return TextFileArtifact(name)

    def make_model(self) -> Any:
        return "søtøsa\r\nversicolor\n\u2028end"

    def predict(self, model: Any) -> Any:
        return [model]

    def wrong_models(self) -> list[Any]:
        return [b"bytes", 1, Path("file.txt"), "lone surrogate \ud800"]


class TestTextFileArtifactWithOptions(TestTextFileArtifact):
    def make_artifact(self, name: str = "model") -> TextFileArtifact:
        return TextFileArtifact(name, file_extension=".vocab.tsv", encoding="utf-8-sig")


def test_text_beyond_the_encoding_is_refused_at_packing() -> None:
    """Not at saving, when the training is long over."""
    with pytest.raises(UsageError, match=r"does not fit latin-1.*utf-8"):
        TextFileArtifact("model", encoding="latin-1").pack("日本")


def test_an_unknown_encoding_is_refused() -> None:
    """At declaration."""
    with pytest.raises(UsageError, match="encoding 'utf-99' is unknown"):
        TextFileArtifact("model", encoding="utf-99")
