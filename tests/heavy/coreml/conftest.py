"""What Core ML Tools warns of by itself."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """It cannot load a model into macOS where there is none, and has not been adapted to numpy 2.4 everywhere."""
    for line in ("ignore:.*macOS:RuntimeWarning", "ignore::DeprecationWarning:coremltools.*"):
        config.addinivalue_line("filterwarnings", line)
