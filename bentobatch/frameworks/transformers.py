"""This module keeps models of Hugging Face's Transformers, with what turns text or images into their inputs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.devices import torch_device
from bentobatch.errors import BentobatchError, BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.text import read_text

_PARTS = ("model", "tokenizer", "processor", "image_processor", "feature_extractor")


class TransformersModelArtifact(BentoServiceArtifact):
    """A dict of "model" and "tokenizer" (and, or, "processor", "image_processor", "feature_extractor"), each of a class of
    Transformers itself, in folders of ``save_pretrained`` below ``<name>_transformers``; weights are safetensors.

    A path of a folder that ``save_pretrained`` made is taken as well. Nothing is fetched, and no code of a model's own
    repository is run (``trust_remote_code``). The model is loaded onto the device that was asked for (see devices.py),
    in evaluation mode.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("transformers", "torch")
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        transformers = library("transformers", self.owner)
        library("torch", self.owner)
        if isinstance(model, (str, Path)):
            return self._from_folder(transformers, Path(model))
        if not isinstance(model, Mapping) or "model" not in model or not set(model) <= set(_PARTS):
            raise UsageError(
                f"{self.owner} takes a dict of model and tokenizer (or {', '.join(_PARTS[2:])}), or the path of a folder of "
                f"save_pretrained, not {_told(model)}"
            )
        for part, held in model.items():
            if getattr(transformers, type(held).__name__, None) is not type(held) or not hasattr(
                held, "save_pretrained"
            ):
                raise UsageError(
                    f"{self.owner}: the {part} is a {type(held).__module__}.{type(held).__name__}, which is no class of "
                    "Transformers itself: use PytorchModelArtifact for a model of one's own"
                )
        return dict(model)

    def save_model(self, folder: Path) -> None:
        transformers = library("transformers", self.owner)
        kinds = {}
        with _no_progress_bars(transformers):
            for part, held in self.get().items():
                held.save_pretrained(str(self._folder(folder) / part))
                kinds[part] = type(held).__name__
        self._kinds_file(folder).write_text(json.dumps(kinds), encoding="utf-8")

    def load_model(self, folder: Path) -> Any:
        transformers = library("transformers", self.owner)
        if not self._kinds_file(folder).is_file() and (folder / self.name / "_model_type.txt").is_file():
            return self._old(transformers, folder / self.name)
        kinds = self._kinds(folder)
        return {
            part: self._loaded(transformers, part, kind, self._folder(folder) / part, BundleError)
            for part, kind in kinds.items()
        }

    def _old(self, transformers: Any, path: Path) -> dict[str, Any]:
        """What BentoML 0.13 wrote: both in one folder, and two files with the names of their classes."""
        files = {"model": "_model_type.txt", "tokenizer": "tokenizer_type.txt"}
        kinds = {part: read_text(path / file, "utf-8", self.owner).strip() for part, file in files.items()}
        return {part: self._loaded(transformers, part, kind, path, BundleError) for part, kind in kinds.items()}

    def _from_folder(self, transformers: Any, path: Path) -> dict[str, Any]:
        if not (path / "config.json").is_file():
            raise UsageError(
                f"{self.owner}: {str(path)!r} is no folder of save_pretrained (config.json is not there); nothing is "
                "fetched: load the model, and pack the objects"
            )
        try:
            architectures = json.loads(read_text(path / "config.json", "utf-8", self.owner)).get("architectures")
            kind = str(architectures[0]) if architectures else "AutoModel"
        except (ValueError, AttributeError, LookupError, TypeError) as error:
            raise UsageError(f"{self.owner}: {path / 'config.json'} is no configuration of Transformers") from error
        parts = {"model": self._loaded(transformers, "model", kind, path, UsageError)}
        if any((path / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
            parts["tokenizer"] = self._loaded(transformers, "tokenizer", "AutoTokenizer", path, UsageError)
        return parts

    def _loaded(self, transformers: Any, part: str, kind: str, path: Path, error_kind: type[BentobatchError]) -> Any:
        torch = library("torch", self.owner)
        cls = getattr(transformers, kind, None)
        if not isinstance(cls, type) or not hasattr(cls, "from_pretrained"):
            raise error_kind(
                f"{self.owner}: {path} names {kind!r} as its {part}'s class, which Transformers does not have"
            )
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        if part == "model" and not (path / "pytorch_model.bin").is_file():
            options["use_safetensors"] = True
        try:
            with _no_progress_bars(transformers):
                held = cls.from_pretrained(str(path), **options)
        except Exception as error:  # Transformers has no error of its own for a damaged folder
            reason = " ".join(str(error).split())[:300]
            raise error_kind(
                f"{self.owner}: Transformers {transformers.__version__} cannot load its {part} from {path} ({reason}): it is "
                "damaged, or was made by another version; install that of the bundle's requirements.txt, or save it again"
            ) from error
        if part != "model":
            return held
        self.loaded_on = torch_device(torch, self.owner)
        return held.to(self.loaded_on).eval()

    def _kinds(self, folder: Path) -> dict[str, str]:
        path = self._kinds_file(folder)
        try:
            kinds = json.loads(read_text(path, "utf-8", self.owner))
        except ValueError as error:
            raise BundleError(f"{self.owner}: {path} is not JSON ({error}); save the model again") from error
        if not isinstance(kinds, dict) or "model" not in kinds or not set(kinds) <= set(_PARTS):
            raise BundleError(f"{self.owner}: {path} does not say what was packed; save the model again")
        return kinds

    def _kinds_file(self, folder: Path) -> Path:
        return folder / f"{self.name}.kinds.json"

    def _folder(self, folder: Path) -> Path:
        return folder / f"{self.name}_transformers"


def _told(model: Any) -> str:
    if isinstance(model, Mapping):
        return f"a dict of {', '.join(map(str, model)) or 'nothing'}"
    return f"a {type(model).__name__}"


@contextlib.contextmanager
def _no_progress_bars(transformers: Any) -> Iterator[None]:
    """Loading writes nothing to stderr, where a run's own messages are."""
    logging = transformers.utils.logging
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
