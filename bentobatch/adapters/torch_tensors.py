"""This module is the adapter of functions that take a PyTorch tensor of rows."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from bentobatch.adapters.numpy_input import NumpyInput
from bentobatch.devices import torch_device
from bentobatch.errors import MissingDependencyError, UsageError


class TorchTensorInput(NumpyInput):
    """The api function gets one ``torch.Tensor`` of many rows, which is its own. ``columns``, ``dtype`` and ``shape`` are
    NumpyInput's: most models want dtype="float32". ``device`` is where the tensor lies, such as "cuda:0"; by default where
    models are loaded (see devices.py).

    Raises:
        UsageError: as NumpyInput, and where torch knows no such dtype.
    """

    pip_packages = ("torch",)

    def __init__(self, *positional: Any, device: str | None = None, **options: Any) -> None:
        super().__init__(*positional, **options)
        self.device = device

    def config(self) -> dict[str, Any]:
        """``columns``, ``dtype``, ``shape`` and ``device``."""
        return {**super().config(), "device": self.device}

    def value_of(self, array: np.ndarray[Any, Any]) -> Any:
        """The array's memory as a tensor.

        Raises:
            MissingDependencyError: torch is not installed.
        """
        try:
            torch = importlib.import_module("torch")  # here, since declaring an api must not import it
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "TorchTensorInput needs torch, which is not installed: pip install bentobatch[torch]"
            ) from error
        try:
            tensor = torch.from_numpy(np.ascontiguousarray(array))
        except TypeError as error:
            raise UsageError(f"torch takes no array of {array.dtype}: declare a dtype such as 'float32'") from error
        device = self.device or torch_device(torch, "TorchTensorInput")
        if device.startswith("cuda"):  # from pinned memory the copy overlaps with the making of the next tensor
            return tensor.pin_memory().to(device, non_blocking=True)
        return tensor.to(device)
