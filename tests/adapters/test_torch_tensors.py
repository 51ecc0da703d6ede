"""This module tests what TorchTensorInput says where there is no torch; tests/heavy/torch has the rest."""

from __future__ import annotations

import sys

import pyarrow as pa
import pytest

from bentobatch.adapters import TorchTensorInput
from bentobatch.errors import MissingDependencyError


def test_without_torch_the_line_names_what_to_install(monkeypatch):
    """Declaring the api needs no torch; scoring does."""
    monkeypatch.setitem(sys.modules, "torch", None)
    adapter = TorchTensorInput(["a"], dtype="float32")
    assert adapter.config() == {"columns": ["a"], "dtype": "float32", "shape": None, "device": None}
    with pytest.raises(MissingDependencyError, match=r"pip install bentobatch\[torch\]"):
        adapter.convert(pa.record_batch({"a": [1.0]}))
