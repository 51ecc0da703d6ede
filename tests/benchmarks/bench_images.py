"""This module holds the benchmarks' service of images, apart from the others, which do without the adapter of images."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import ImageInput
from bentobatch.frameworks.json import JSONArtifact


@bentobatch.artifacts([JSONArtifact("weights")])
class Brightness(bentobatch.BentoService):
    """A weighted mean of an image's colours: a model so cheap that decoding is nearly all of the work."""

    @bentobatch.api(input=ImageInput(), batch=True)
    def predict(self, images):
        return [float((image.mean(axis=(0, 1)) * self.artifacts.weights).sum()) for image in images]
