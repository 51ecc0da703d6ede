"""This module is the smallest service there is: it needs no library but bentobatch's own."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.json import JSONArtifact


@bentobatch.artifacts([JSONArtifact("model")])
class DoublingService(bentobatch.BentoService):
    """Multiplies each number by the model's factor."""

    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, numbers):
        return [number * self.artifacts.model["factor"] for number in numbers]


def save(folder: str) -> None:
    """Save a packed service as the bundle ``folder``."""
    service = DoublingService()
    service.pack("model", {"factor": 2})
    service.save_to_dir(folder)
