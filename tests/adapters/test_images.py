"""This module tests ImageInput, MultiImageInput and AnnotatedImageInput: decoding, its bounds, and bad rows."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from bentobatch.adapters import AnnotatedImageInput, ImageInput, MultiImageInput
from bentobatch.adapters import images as images_module
from bentobatch.errors import DataError, UsageError
from tests.adapters.pictures import bomb, picture
from tests.conformance.adapter_suite import InputAdapterSuite


def images(*contents):
    """A batch of one column of bytes."""
    return pa.record_batch([pa.array(contents, pa.large_binary())], names=["image"])


class TestImageInput(InputAdapterSuite):
    """ImageInput with options of its own."""

    def make(self):
        return ImageInput(accept_image_formats=[".png", ".bmp"], pilmode="L", max_pixels=100)

    def good_batch(self):
        return images(*(picture(width, 3, width, mode="L") for width in range(1, 5)), picture(format="BMP"))

    def bad_batch(self):
        good = picture(mode="L", color=7)
        contents = [
            good,
            b"",
            picture(10, 9, format="BMP")[:-50],
            b"text",
            good,
            picture(11, 10),
            None,
            picture(format="JPEG"),
            bomb(),
        ]
        return images(*contents), [1, 2, 3, 5, 6, 7, 8]

    def inline(self):
        return picture(), 1

    def values(self, converted):
        return [array.tolist() for array in converted.args[0]]


class TestMultiImageInput(InputAdapterSuite):
    """MultiImageInput over two columns."""

    def make(self):
        return MultiImageInput(input_names=("imageX", "imageY"), accept_image_formats=[".png"])

    def good_batch(self):
        contents = [picture(width) for width in range(1, 5)]
        return pa.record_batch({"imageX": contents, "imageY": contents[::-1]})

    def bad_batch(self):
        good = picture()
        return pa.record_batch({"imageX": [good, b"x", good, None], "imageY": [good, good, b"y", good]}), [1, 2, 3]

    def inline(self):
        text = base64.b64encode(picture()).decode()
        return json.dumps({"imageX": text, "imageY": text}).encode(), 1

    def values(self, converted):
        return [(left.tolist(), right.tolist()) for left, right in zip(*converted.args, strict=True)]


class TestAnnotatedImageInput(InputAdapterSuite):
    """AnnotatedImageInput: annotations may be missing, images may not."""

    def make(self):
        return AnnotatedImageInput("photo", "boxes", pilmode="RGBA")

    def good_batch(self):
        notes = [b'{"a": [1, 2]}', None, b"\xef\xbb\xbfnull", b"12345678901234567890"]
        return pa.record_batch({"photo": [picture(width) for width in range(1, 5)], "boxes": notes})

    def bad_batch(self):
        good = picture()
        return pa.record_batch({"photo": [good, None, good, b"x"], "boxes": [None, b"1", b"{oops", b"1"]}), [1, 2, 3]

    def inline(self):
        return json.dumps({"photo": base64.b64encode(picture()).decode(), "boxes": [{"x": 1}]}).encode(), 1

    def values(self, converted):
        return [(image.tolist(), boxes) for image, boxes in zip(*converted.args, strict=True)]


def test_an_image_is_height_by_width_by_three_bytes():
    """Whatever its mode in the file: grey, with a palette, with transparency, of one bit."""
    for content in (
        picture(),
        picture(mode="L", color=9),
        picture(mode="P", color=3),
        picture(mode="RGBA", color=(1, 2, 3, 4)),
        picture(mode="1", color=1),
        picture(mode="CMYK", color=(0, 0, 0, 0), format="JPEG"),
    ):
        (array,) = ImageInput().convert(images(content)).args[0]
        assert array.shape == (3, 4, 3)
        assert array.dtype == np.uint8
        assert array.flags.writeable
    (array,) = ImageInput().convert(images(picture())).args[0]
    assert array[0, 0].tolist() == [10, 20, 30]


def test_without_a_mode_an_image_is_what_it_is():
    """As imageio reads it: 16 bits stay 16 bits, one bit becomes bytes of 0 and 255."""
    read = ImageInput(pilmode=None)
    (deep,) = read.convert(images(picture(mode="I;16", color=40_000))).args[0]
    assert (deep.dtype, deep.shape, int(deep[0, 0])) == (np.uint16, (3, 4), 40_000)
    (bits,) = read.convert(images(picture(mode="1", color=1))).args[0]
    assert (bits.dtype, int(bits[0, 0])) == (np.uint8, 255)
    (clear,) = read.convert(images(picture(mode="RGBA", color=(1, 2, 3, 4)))).args[0]
    assert clear.shape == (3, 4, 4)


def test_the_orientation_that_exif_tells_is_not_applied():
    """BentoML 0.13 (imageio) did not either; a model trained with it expects the pixels as stored."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    (array,) = ImageInput().convert(images(picture(4, 3, format="JPEG", exif=exif))).args[0]
    assert array.shape == (3, 4, 3)


def test_only_the_first_frame_of_an_animation_is_read():
    """One row is one image."""
    stream = io.BytesIO()
    frames = [Image.new("RGB", (4, 3), (shade, 0, 0)) for shade in (50, 100)]
    frames[0].save(stream, format="TIFF", save_all=True, append_images=frames[1:])
    (array,) = ImageInput().convert(images(stream.getvalue())).args[0]
    assert array[0, 0, 0] == 50


def test_a_bomb_costs_its_row_and_no_memory():
    """2.5 gigapixels in a kilobyte: told from the header, never decoded."""
    converted = ImageInput().convert(images(picture(), bomb(), bomb(12_000, 9_000)))
    assert converted.rows == 1
    assert [row.error_type for row in converted.bad] == ["DecompressionBombError"] * 2
    assert all("(max_pixels)" in row.error for row in converted.bad)


def test_a_larger_bound_may_be_asked_for(monkeypatch):
    """Pillow's own bound then gives way too."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert ImageInput(max_pixels=200_000_000).convert(images(picture(100, 100))).rows == 1


def test_the_bytes_tell_the_format_and_not_the_name():
    """A decoder that was not asked for never sees the bytes."""
    converted = ImageInput(accept_image_formats=[".jpg"]).convert(images(picture(), picture(format="JPEG")))
    assert [row.index for row in converted.bad] == [0]
    assert "no image of the formats .jpg" in converted.bad[0].error


def test_large_images_are_scored_in_calls_of_their_own(monkeypatch):
    """The memory of decoded images is bounded, whatever their bytes in the file: cuts follow from the rows alone."""
    monkeypatch.setattr(images_module, "CALL_BYTES", 3 * 100 * 2)
    small, large = picture(10, 10), picture(20, 10)
    batch = images(small, small, small, large, b"broken", None, small, bomb(), small, small)
    assert list(ImageInput().cuts(batch)) == [2, 3, 6, 9]
    both = pa.record_batch({"imageX": [small] * 3, "imageY": [small] * 3})
    assert list(MultiImageInput(("imageX", "imageY")).cuts(both)) == [1, 2]
    noted = pa.record_batch({"image": [small] * 3, "annotations": [b"1" * 1000] * 3})
    assert list(AnnotatedImageInput().cuts(noted)) == [2]


@pytest.mark.parametrize(
    "options",
    [
        {"pilmode": "rgb"},
        {"accept_image_formats": ".png"},
        {"accept_image_formats": ["png"]},
        {"max_pixels": 0},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    """At declaration, not at the first image."""
    with pytest.raises(UsageError):
        ImageInput(**options)


def test_a_format_that_pillow_does_not_know_is_refused_by_name():
    """Found when Pillow is loaded; formats beyond the usual ones are looked up there."""
    with pytest.raises(UsageError, match=r"\.nosuch"):
        ImageInput(accept_image_formats=[".nosuch"]).convert(images(picture()))
    assert ImageInput(accept_image_formats=[".ppm"]).convert(images(picture(format="PPM"))).rows == 1


def test_inline_annotations_must_be_an_object_with_the_image():
    """The image as base64, the annotations as JSON."""
    for text in (b"[]", b'{"image": 5}', b'{"other": 1}'):
        with pytest.raises(DataError):
            AnnotatedImageInput().table_from_text(text)
