"""This module decodes images with Pillow, within bounds: what a folder of strangers' images may hold is data, not trust.

The array is what imageio gave to users of BentoML 0.13: the first frame, in the mode that was asked for, not turned by
what EXIF says of the camera's orientation. Which decoder runs follows from the bytes and the accepted formats, never
from the file's name.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bentobatch.adapters.files import BadFileError
from bentobatch.errors import MissingDependencyError, UnavailableError, UsageError

ACCEPTED = (".jpg", ".png", ".jpeg", ".tiff", ".webp", ".bmp")
MAX_PIXELS = 89_478_485
"""Pixels of one image: a quarter of a GiB as RGB, and Pillow's own limit."""
CALL_BYTES = 256 << 20
"""Bytes of the decoded images of one call of the api, where it is more than one image."""
_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
}
_BOMB = "DecompressionBombError"
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "LA": 2, "RGB": 3, "YCbCr": 3, "LAB": 3, "HSV": 3}
_MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "LA", "I;16")


class Pictures:
    """How an adapter decodes: ``accept`` are extensions that stand for formats, ``mode`` is Pillow's name of a mode, or
    None for each image's own. Declaring one does not import Pillow.

    Raises:
        UsageError: an unknown mode, no format, or a bound that is no count.
    """

    def __init__(self, accept: Sequence[str] | None, mode: str | None, max_pixels: int) -> None:
        if isinstance(accept, str) or any(not str(each).startswith(".") for each in accept or ()):
            raise UsageError(f"accept_image_formats must be a list of extensions such as '.png', not {accept!r}")
        if mode is not None and mode not in _MODES:
            raise UsageError(f"pilmode {mode!r} is not known; choose one of {', '.join(_MODES)}, or None")
        if max_pixels < 1:
            raise UsageError(f"max_pixels must be at least 1, not {max_pixels}")
        # in the order given: 0.13 made a set of them, whose order differed from run to run
        self.accept = tuple(dict.fromkeys(str(each).lower() for each in accept or ACCEPTED))
        self.mode = mode
        self.max_pixels = max_pixels

    def config(self) -> dict[str, Any]:
        """The options as JSON values, by the names that the adapters have for them."""
        return {"accept_image_formats": list(self.accept), "pilmode": self.mode, "max_pixels": self.max_pixels}

    def array_of(self, content: bytes) -> np.ndarray[Any, Any]:
        """The image as an array of height x width (x bands), which is the caller's own.

        Raises:
            BadFileError: no image of an accepted format, broken, or of too many pixels.
            UnavailableError: there is not enough memory for it.
        """
        if not content:
            raise BadFileError("the file is empty", "EmptyFile")
        try:
            with self._opened(content) as image:
                self._check_pixels(image.size)
                return self._array(image)
        except (BadFileError, UsageError):
            raise
        except MemoryError as error:
            raise UnavailableError("not enough memory to decode an image: give fewer --workers") from error
        except Exception as error:
            # a decoder says of broken bytes what it likes: OSError, SyntaxError, struct.error, IndexError and more
            raise self._bad(error) from error

    def bytes_of(self, content: bytes) -> int:
        """The bytes of the decoded image, from its header; 0 for what will not be decoded."""
        try:
            with self._opened(content) as image:
                pixels: int = image.size[0] * image.size[1]
        except UsageError:
            raise
        except Exception:  # noqa: BLE001 - whatever is wrong with it is told when it is decoded
            return 0
        return 0 if pixels > self.max_pixels else pixels * _PIXEL_BYTES.get(self.mode or "", 4)

    def _opened(self, content: bytes) -> Any:
        module = _pillow()
        if self.max_pixels > MAX_PIXELS and (module.MAX_IMAGE_PIXELS or self.max_pixels) < self.max_pixels:
            module.MAX_IMAGE_PIXELS = self.max_pixels  # the user allows larger ones, and this is the only way
        return module.open(io.BytesIO(content), formats=_formats(self.accept))

    def _check_pixels(self, size: tuple[int, int]) -> None:
        width, height = size
        if width * height > self.max_pixels:
            raise BadFileError(
                f"an image of {width:,} x {height:,} pixels, and at most {self.max_pixels:,} are decoded (max_pixels)",
                _BOMB,
            )

    def _array(self, image: Any) -> np.ndarray[Any, Any]:
        """The rules of imageio's reader, which BentoML 0.13 used."""
        frame = image if self.mode in (None, image.mode) else image.convert(self.mode)
        if frame.mode == "1":
            frame = frame.convert("L")
        dtype = np.uint16 if self.mode is None and image.mode == "I" and image.format == "PNG" else None
        return np.array(frame, dtype=dtype)

    def _bad(self, error: Exception) -> BadFileError:
        kind = type(error).__name__
        if kind == "UnidentifiedImageError":
            return BadFileError(f"no image of the formats {', '.join(self.accept)}", kind)
        if kind in ("DecompressionBombError", "DecompressionBombWarning"):
            return BadFileError(f"more pixels than the {self.max_pixels:,} that are decoded (max_pixels)", _BOMB)
        return BadFileError(f"the image is broken: {str(error) or kind}", kind)


def _pillow() -> Any:
    try:
        from PIL import Image  # here, since declaring an api must not import it, and only images need it
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "images need Pillow, which is not installed: pip install bentobatch[image]"
        ) from error
    return Image


@lru_cache(maxsize=64)
def _formats(accept: tuple[str, ...]) -> tuple[str, ...]:
    """Pillow's names of the formats that the extensions stand for."""
    known = _FORMATS if all(each in _FORMATS for each in accept) else {**_pillow().registered_extensions(), **_FORMATS}
    unknown = [each for each in accept if each not in known]
    if unknown:
        raise UsageError(f"accept_image_formats: Pillow reads no {', '.join(unknown)}")
    return tuple(dict.fromkeys(known[each] for each in accept))
