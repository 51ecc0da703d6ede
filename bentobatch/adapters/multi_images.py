"""This module is the adapter of functions that take several images for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bentobatch.adapters.images import DecodedFilesInput
from bentobatch.adapters.multi_files import MultiFilesInput
from bentobatch.adapters.pictures import MAX_PIXELS, Pictures


class MultiImageInput(DecodedFilesInput, MultiFilesInput):
    """The api function gets one list of arrays for each of ``input_names`` (batch=True), or one array each. The other
    options are those of ImageInput. A row that lacks one of its images is bad."""

    def __init__(
        self,
        input_names: Sequence[str] = ("image",),
        pilmode: str | None = "RGB",
        accept_image_formats: Sequence[str] | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        **options: Any,
    ) -> None:
        super().__init__(input_names, **options)
        self.pictures = Pictures(accept_image_formats, pilmode, max_pixels)

    def config(self) -> dict[str, Any]:
        """``input_names``, ``accept_image_formats``, ``pilmode``, ``max_pixels`` and ``fetch``."""
        return {"input_names": list(self.input_names), **self.pictures.config(), **super().config()}
