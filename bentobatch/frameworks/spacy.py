"""This module keeps spaCy pipelines in folders as spaCy writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library


class SpacyModelArtifact(BentoServiceArtifact):
    """A pipeline (``spacy.language.Language``) in ``<name>_spacy/``; BentoML 0.13 has ``<name>/``, which is read too.

    Components of the caller's own are found by their registered names, so the module that registers them must be
    imported by the service's module.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("spacy",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        language = library("spacy.language", self.owner).Language
        if not isinstance(model, language):
            raise UsageError(
                f"{self.owner} takes a spaCy pipeline (a spacy.language.Language, such as spacy.load gives), not a "
                f"{type(model).__name__}"
            )
        return model

    def save_model(self, folder: Path) -> None:
        self.get().to_disk(folder / f"{self.name}_spacy")

    def load_model(self, folder: Path) -> Any:
        spacy = library("spacy", self.owner)
        path = folder / f"{self.name}_spacy"
        if not path.is_dir() and (folder / self.name).is_dir():
            path = folder / self.name
        if not (path / "meta.json").is_file():
            raise BundleError(
                f"{self.owner}: {path / 'meta.json'} is missing; save the bundle again, or fetch it again"
            )
        try:
            return spacy.load(path)
        except Exception as error:  # whatever spaCy, thinc and msgpack raise of a damaged file
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise BundleError(
                f"{self.owner}: spaCy {spacy.__version__} cannot load {path} ({reason}); it was saved by spaCy "
                f"{_version_in(path)}: install that, or save the pipeline again"
            ) from error


def _version_in(path: Path) -> str:
    """The versions of spaCy that the pipeline says it is for."""
    try:
        return str(json.loads((path / "meta.json").read_bytes())["spacy_version"])
    except (ValueError, TypeError, KeyError, OSError):
        return "of an unknown version"
