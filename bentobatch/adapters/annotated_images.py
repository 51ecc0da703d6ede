"""This module is the adapter of functions that take images with annotations, which are JSON files beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bentobatch.adapters.files import BadFileError, StoredFile
from bentobatch.adapters.images import DecodedFilesInput
from bentobatch.adapters.json_text import json_text, parse_json
from bentobatch.adapters.multi_files import MultiFilesInput
from bentobatch.adapters.pictures import MAX_PIXELS, Pictures
from bentobatch.errors import DataError

_BOM = b"\xef\xbb\xbf"


class AnnotatedImageInput(DecodedFilesInput, MultiFilesInput):
    """The api function gets a list of arrays and a list of the parsed annotations (batch=True), or one of each. An image
    without annotations has None for them; annotations without an image, or that are no JSON, are a bad row. The other
    options are those of ImageInput."""

    def __init__(
        self,
        image_input_name: str = "image",
        annotation_input_name: str = "annotations",
        pilmode: str | None = "RGB",
        accept_image_formats: Sequence[str] | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        **options: Any,
    ) -> None:
        super().__init__((image_input_name, annotation_input_name), **options)
        self.pictures = Pictures(accept_image_formats, pilmode, max_pixels)

    def config(self) -> dict[str, Any]:
        """The names of the two inputs, ``accept_image_formats``, ``pilmode``, ``max_pixels`` and ``fetch``."""
        image, annotations = self.input_names
        return {
            "image_input_name": image,
            "annotation_input_name": annotations,
            **self.pictures.config(),
            **super().config(),
        }

    def is_image(self, name: str) -> bool:
        """The first input is; the second holds JSON."""
        return name == self.input_names[0]

    def value_of(self, name: str, file: StoredFile) -> Any:
        """The image as an array, or the annotations as parsed JSON."""
        if self.is_image(name):
            return super().value_of(name, file)
        try:
            return parse_json(file.getvalue().removeprefix(_BOM))
        except json.JSONDecodeError as error:
            raise BadFileError(f"the annotations are no JSON: {error}", "JSONDecodeError") from error

    def absent(self, name: str) -> Any:
        """None for annotations."""
        return super().absent(name) if self.is_image(name) else None

    def bytes_of(self, name: str, value: Any) -> bytes | None:
        """Inline, the image is base64, and the annotations are JSON as they are."""
        if self.is_image(name) or value is None:
            return super().bytes_of(name, value)
        try:
            return json_text(value).encode()
        except (TypeError, UnicodeEncodeError) as error:
            raise DataError(f"input {name!r}: {error}") from error
