"""This module keeps a JSON value, such as label names or thresholds."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.text import checked_encoding, checked_extension, read_text


class JSONArtifact(BentoServiceArtifact):
    """A JSON value in ``<name>.json``.

    What is packed is what JSON makes of it (a tuple becomes a list, a dict's keys become text), already before saving,
    so that a service sees the same value before and after. ``json_module``: the name of another module, or the module,
    with ``dumps`` and ``loads`` such as Python's.
    """

    uses_pickle: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        file_extension: str = ".json",
        encoding: str = "utf-8",
        json_module: str | ModuleType = "json",
    ) -> None:
        super().__init__(name)
        self.file_extension = checked_extension(file_extension, self.owner)
        self.encoding = checked_encoding(encoding, self.owner)
        self.json_module = json_module.__name__ if isinstance(json_module, ModuleType) else json_module

    def config(self) -> dict[str, Any]:
        return {"file_extension": self.file_extension, "encoding": self.encoding, "json_module": self.json_module}

    def check(self, model: Any) -> Any:
        module = self._module()
        try:
            return module.loads(self._text(model))
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{self.owner} takes a JSON value ({error}): use text, numbers, booleans, None, lists and dicts, "
                "or PickleArtifact for other objects"
            ) from error

    def save_model(self, folder: Path) -> None:
        self._file(folder).write_bytes(self._text(self.get()).encode(self.encoding))

    def load_model(self, folder: Path) -> Any:
        text = read_text(self._file(folder), self.encoding, self.owner)
        try:
            return self._module().loads(text)
        except ValueError as error:
            raise BundleError(f"{self.owner}: {self._file(folder)} is not JSON ({error}); save it again") from error

    def _module(self) -> Any:
        try:
            return importlib.import_module(self.json_module)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{self.owner}: json_module {self.json_module!r} is not installed: pip install {self.json_module}"
            ) from error

    def _text(self, model: Any) -> str:
        text = self._module().dumps(model)
        return text.decode("utf-8") if isinstance(text, bytes) else str(text)

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}{self.file_extension}"
