"""What PaddlePaddle warns of by itself."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """It looks for a compiler's cache when it is imported."""
    config.addinivalue_line("filterwarnings", "ignore:No ccache found:UserWarning")
