"""This module is the adapter of functions that take images as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.files import FilesInput, StoredFile
from bentobatch.adapters.pictures import CALL_BYTES, MAX_PIXELS, Pictures


class DecodedFilesInput(FilesInput):
    """An adapter of files some of which are images. ``pictures`` decodes them."""

    pip_packages = ("pillow",)
    pictures: Pictures

    def is_image(self, name: str) -> bool:  # noqa: ARG002 - where other files go with the images
        """Whether the files of the input ``name`` are images."""
        return True

    def value_of(self, name: str, file: StoredFile) -> Any:  # noqa: ARG002
        """The image as an array."""
        return self.pictures.array_of(file.getvalue())

    def cuts(self, batch: pa.RecordBatch) -> Sequence[int]:
        """Rows of which the decoded images fill CALL_BYTES are a call of their own."""
        found: list[int] = []
        held = 0
        named = [
            (self.is_image(name), files) for name, files in zip(self.input_names, self.file_columns(batch), strict=True)
        ]
        for row, files in enumerate(zip(*(files for is_image, files in named if is_image), strict=True)):
            size = sum(self.pictures.bytes_of(file.getvalue()) for file in files if file is not None)
            if held + size > CALL_BYTES and held:
                found.append(row)
                held = 0
            held += size
        return found


class ImageInput(DecodedFilesInput):
    """The api function gets the images of many rows as a list of arrays (batch=True), or one of them: uint8, of height x
    width x 3 with the default ``pilmode`` "RGB" (Pillow's name of a mode; None leaves each image as it is).

    ``accept_image_formats`` are extensions that stand for formats; what a file is, its bytes tell and not its name.
    An image that is broken, of another format or of more than ``max_pixels`` is a bad row. EXIF's orientation is not
    applied. ``fetch`` lets a column name URLs (see FilesInput).

    Raises:
        UsageError: an unknown mode, or formats that are no extensions.
    """

    def __init__(
        self,
        accept_image_formats: Sequence[str] | None = None,
        pilmode: str | None = "RGB",
        *,
        max_pixels: int = MAX_PIXELS,
        **options: Any,
    ) -> None:
        super().__init__(("image",), **options)
        self.pictures = Pictures(accept_image_formats, pilmode, max_pixels)

    def config(self) -> dict[str, Any]:
        """``accept_image_formats``, ``pilmode``, ``max_pixels`` and ``fetch``."""
        return {**self.pictures.config(), **super().config()}
