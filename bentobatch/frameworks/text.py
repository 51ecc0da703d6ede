"""This module keeps a text, such as a vocabulary or a prompt, as it is."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact

_EXTENSION = re.compile(r"\.[A-Za-z0-9][A-Za-z0-9._-]*")


class TextFileArtifact(BentoServiceArtifact):
    """A str in ``<name><file_extension>``; line ends are kept as they are."""

    uses_pickle: ClassVar[bool] = False

    def __init__(self, name: str, file_extension: str = ".txt", encoding: str = "utf-8") -> None:
        super().__init__(name)
        self.file_extension = checked_extension(file_extension, self.owner)
        self.encoding = checked_encoding(encoding, self.owner)

    def config(self) -> dict[str, Any]:
        return {"file_extension": self.file_extension, "encoding": self.encoding}

    def check(self, model: Any) -> Any:
        if not isinstance(model, str):
            raise UsageError(f"{self.owner} takes a str, not a {type(model).__name__}: decode or read the file first")
        try:
            model.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise UsageError(f"{self.owner}: the text does not fit {self.encoding} ({error}): use utf-8") from error
        return model

    def save_model(self, folder: Path) -> None:
        self._file(folder).write_bytes(self.get().encode(self.encoding))

    def load_model(self, folder: Path) -> Any:
        return read_text(self._file(folder), self.encoding, self.owner)

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}{self.file_extension}"


def read_text(path: Path, encoding: str, owner: str) -> str:
    """The text of a file in a bundle.

    Raises:
        BundleError: it is missing, or in another encoding.
    """
    try:
        return path.read_bytes().decode(encoding)
    except FileNotFoundError as error:
        raise BundleError(f"{owner}: the file {path} is missing; save the bundle again, or fetch it again") from error
    except UnicodeDecodeError as error:
        raise BundleError(f"{owner}: {path} is not {encoding} text ({error}); declare its encoding=") from error


def checked_extension(extension: str, owner: str) -> str:
    """``extension``, which begins with a dot and stays in its folder, or UsageError."""
    if not isinstance(extension, str) or not _EXTENSION.fullmatch(extension):
        raise UsageError(f"{owner}: file_extension {extension!r} is malformed; write one such as '.txt'")
    return extension


def checked_encoding(encoding: str, owner: str) -> str:
    """``encoding``, which Python knows, or UsageError."""
    try:
        codecs.lookup(encoding)
    except (LookupError, TypeError) as error:
        raise UsageError(f"{owner}: encoding {encoding!r} is unknown to Python; write one such as 'utf-8'") from error
    return encoding
