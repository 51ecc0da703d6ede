"""This module keeps Keras models in Keras 3's own file, without a pickle unless objects are packed beside the model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BentobatchError, BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.text import read_text
from bentobatch.frameworks.unpickle import dump_pickle, load_pickle, refuse_if_pickles_are_refused

_PICKLED_NONE = re.compile(rb"\x80[\x02-\x05]N\.")


class KerasModelArtifact(BentoServiceArtifact):
    """A ``keras.Model`` in ``<name>.keras``; or, with ``store_as_json_and_weights``, in ``<name>_json.json`` and
    ``<name>.weights.h5``.

    ``default_custom_objects`` are the classes and functions of the model that are not Keras's own, by their names; they
    are code of the service. Those that are packed with the model, ``{"model": …, "custom_objects": {…}}``, are kept as
    a pickle in ``<name>_custom_objects.pkl``. Loading is Keras's safe mode, which refuses Lambda layers with Python code.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("keras", "tensorflow")

    def __init__(
        self,
        name: str,
        default_custom_objects: Mapping[str, Any] | None = None,
        store_as_json_and_weights: bool = False,
    ) -> None:
        super().__init__(name)
        self.default_custom_objects = None if default_custom_objects is None else dict(default_custom_objects)
        self.store_as_json_and_weights = bool(store_as_json_and_weights)
        self._custom_objects: dict[str, Any] | None = None

    @property
    def uses_pickle(self) -> bool:  # type: ignore[override]
        """Whether there are custom objects to be pickled; True while nothing is packed."""
        return not self.packed or bool(self._custom_objects)

    def config(self) -> dict[str, Any]:
        return {"store_as_json_and_weights": self.store_as_json_and_weights}

    def check(self, model: Any) -> Any:
        keras = library("keras", self.owner)
        packed = None
        if isinstance(model, Mapping):
            model, packed = model.get("model"), model.get("custom_objects")
        if not isinstance(model, keras.Model):
            raise UsageError(
                f"{self.owner} takes a keras.Model of Keras 3, or a dict of model and custom_objects, not a "
                f"{type(model).__name__}: pass the model itself"
            )
        objects = packed or self.default_custom_objects
        try:
            keras.models.model_from_json(model.to_json(), custom_objects=objects)
        except Exception as error:  # a layer's own constructor may raise anything
            kinds = (type(layer) for layer in getattr(model, "layers", ()))
            own = sorted({kind.__name__ for kind in kinds if not kind.__module__.startswith("keras.")})
            raise UsageError(
                f"{self.owner}: Keras cannot make the model again from its description ({_line(error)}): name its own "
                f"classes ({', '.join(own) or 'none is seen'}) in default_custom_objects, and use a layer of your own "
                "instead of Lambda"
            ) from error
        self._custom_objects = dict(packed) if packed else None
        return model

    def save_model(self, folder: Path) -> None:
        model = self.get()
        if self._custom_objects:
            dump_pickle(self._custom_objects, self._objects_file(folder), self.owner)
        if self.store_as_json_and_weights:
            (folder / f"{self.name}_json.json").write_text(model.to_json(), encoding="utf-8")
            model.save_weights(str(folder / f"{self.name}.weights.h5"))
        else:
            model.save(str(folder / f"{self.name}.keras"))

    def refuse_pickle(self, folder: Path) -> None:
        if self._pickled_objects(folder):
            refuse_if_pickles_are_refused(self._objects_file(folder), self.owner)

    def load_model(self, folder: Path) -> Any:
        keras = library("keras", self.owner)
        self._custom_objects = None
        if self._pickled_objects(folder):
            self._custom_objects = load_pickle(self._objects_file(folder), self.owner)
        objects = self._custom_objects or self.default_custom_objects
        path = self._stored(folder)
        try:
            if path.suffix != ".json":
                return keras.saving.load_model(str(path), custom_objects=objects, compile=False, safe_mode=True)
            model = keras.models.model_from_json(read_text(path, "utf-8", self.owner), custom_objects=objects)
            model.load_weights(str(self._weights(folder)))
        except BentobatchError:
            raise
        except Exception as error:  # Keras has no error of its own for a damaged file
            raise BundleError(
                f"{self.owner}: Keras {keras.__version__} cannot read {path} ({_line(error)}): it is damaged, or was made by "
                "another version; install that of the bundle's requirements.txt, or save the model again"
            ) from error
        return model

    def feature_count(self) -> int | None:
        """The width of a model with one input of rows."""
        shape = getattr(self.get(), "input_shape", None)
        return shape[1] if isinstance(shape, tuple) and len(shape) == 2 and isinstance(shape[1], int) else None

    def _pickled_objects(self, folder: Path) -> bool:
        """Whether a pickle of custom objects is to be read. BentoML 0.13 always wrote one, mostly of None."""
        path = self._objects_file(folder)
        if self.default_custom_objects is not None or not path.is_file():
            return False
        with path.open("rb") as file:
            return _PICKLED_NONE.fullmatch(file.read(8)) is None

    def _stored(self, folder: Path) -> Path:
        """The model's file: one of ours, or .h5 as in BentoML 0.13."""
        paths = [folder / f"{self.name}{suffix}" for suffix in (".keras", "_json.json", ".h5")]
        for path in paths:
            if path.is_file():
                return path
        raise BundleError(f"{self.owner}: the file {paths[0]} is missing; save the bundle again, or fetch it again")

    def _weights(self, folder: Path) -> Path:
        """Ours, or those of BentoML 0.13."""
        old = folder / f"{self.name}_weights.hdf5"
        return old if old.is_file() else folder / f"{self.name}.weights.h5"

    def _objects_file(self, folder: Path) -> Path:
        return folder / f"{self.name}_custom_objects.pkl"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
