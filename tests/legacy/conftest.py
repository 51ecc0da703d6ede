"""This module keeps the tests of old bundles apart, and gives them a real-looking ``bentoml`` that must not be touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bentobatch.bundle import imports, load
from tests.bundle.projects import on_search_path, write_files


@pytest.fixture(autouse=True)
def separate() -> Iterator[None]:
    before = set(imports._installed)
    yield
    for package in set(imports._installed) - before:
        load._codes.pop(imports._installed[package].digest, None)
        imports.uninstall(package)


@pytest.fixture
def installed_bentoml(tmp_path: Path) -> Iterator[Path]:
    """A ``bentoml`` on the search path, of a later release by its looks: whoever imports it leaves a file there."""
    folder = tmp_path / "site-packages"
    trace = "import pathlib\npathlib.Path(__file__).with_name('touched').write_text(__name__)\n"
    write_files(
        folder,
        {
            "bentoml/__init__.py": f"{trace}__version__ = '1.4.0'\n\n\nclass Service:\n    pass\n",
            "bentoml/adapters/__init__.py": f"{trace}raise ImportError('gone since 1.0')\n",
            "bentoml/exceptions.py": f"{trace}",
            "bentoml-1.4.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: bentoml\nVersion: 1.4.0\n",
        },
    )
    with on_search_path(folder):
        yield folder
