"""This module saves two bundles of one service, an old and a new one, which differ where these tests look."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = '''
import bentobatch
from bentobatch.adapters import DataframeInput, JsonInput
from bentobatch.frameworks.json import JSONArtifact


@bentobatch.artifacts([JSONArtifact("settings")])
class Pricing(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def predict(self, df):
        """Price and band; the row of x = 13 makes the old one raise, and that of x = 14 the new one."""
        settings = self.artifacts.settings
        if (df["x"] == settings["fatal"]).any():
            raise ValueError("unlucky")
        moved = df["x"] + settings["add"] * (df["x"] >= settings["start"])
        return df.assign(price=moved, band=["high" if value > 50 else "low" for value in moved])[["price", "band"]]

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def first(self, df):
        return df.rename(columns={"x": "first"})

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def lists(self, df):
        return [[value, value + self.artifacts.settings["add"]] for value in df["x"]]

    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def nothing(self, df):
        """The process it runs in."""
        import os
        return [os.getpid()] * len(df)
'''


@pytest.fixture(scope="session")
def pricing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the bundles ``old`` and ``new``: the latter adds 2 from x = 90 on."""
    folder = tmp_path_factory.mktemp("pricing")
    (folder / "pricing_service.py").write_text(SERVICE)
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module("pricing_service")
        for name, settings in (
            ("old", {"add": 0, "start": 0, "fatal": 13}),
            ("new", {"add": 2, "start": 90, "fatal": 14}),
        ):
            service = module.Pricing()
            service.pack("settings", settings)
            service.save_to_dir(str(folder / name))
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("pricing_service", None)
