"""What fastai warns of by itself."""

from __future__ import annotations

import pytest

_LINES = (
    "The given NumPy array is not writable",  # that of a frame of pandas 3, which fastai does not write to
    "`torch.jit",
    "The 'mode.chained_assignment' option is deprecated",
    "load_learner` uses Python's insecure pickle",
)


def pytest_configure(config: pytest.Config) -> None:
    """It is older than PyTorch and pandas are here."""
    for line in _LINES:
        config.addinivalue_line("filterwarnings", f"ignore:{line}")
