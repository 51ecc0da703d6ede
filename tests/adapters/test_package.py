"""This module tests that the package names its adapters and stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bentobatch.adapters as package


@pytest.mark.parametrize("name", package.__all__)
def test_every_public_name_is_there(name):
    """``from bentobatch.adapters import X`` works for each name of __all__, and dir() lists it."""
    assert getattr(package, name) is not None
    assert name in dir(package)


def test_another_name_is_an_attribute_error():
    """A typing error must not read as a missing library."""
    with pytest.raises(AttributeError, match="NoSuchInput"):
        _ = package.NoSuchInput


def test_the_table_of_names_is_complete():
    """Each public name has a home, and nothing else has."""
    assert set(package._HOMES) == set(package.__all__)


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import bentobatch.adapters", ("pandas", "pyarrow", "numpy")),
        ("from bentobatch.adapters import DataframeInput; DataframeInput(columns=['a'], dtype='Int64')", ("pandas",)),
        ("from bentobatch.adapters import DefaultOutput; DefaultOutput()", ("pandas",)),
        ("from bentobatch.adapters import ImageInput; ImageInput()", ("pandas", "PIL")),
        ("from bentobatch.adapters import TorchTensorInput; TorchTensorInput(dtype='float32')", ("pandas", "torch")),
        ("from bentobatch.adapters import TfTensorInput; TfTensorInput()", ("pandas", "tensorflow")),
    ],
)
def test_importing_and_declaring_import_no_heavy_library(code, absent):
    """``bentobatch --help`` and a service's file must not pay for pandas before a frame is made."""
    check = f"import sys; {code}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
