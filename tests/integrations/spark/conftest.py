"""What the tests of Spark share; the session itself is that of tests/integrations/conftest.py."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICES = '''
import os
import time
from pathlib import Path

import pyarrow as pa

import bentobatch
from bentobatch.adapters import ArrowInput, DataframeInput
from bentobatch.frameworks.pickle import PickleArtifact


@bentobatch.artifacts([PickleArtifact("options")])
class Watched(bentobatch.BentoService):
    """Tells the tests, by files in a folder, what it does and where; waits as long as the file "hold" is there."""

    def _tell(self, name):
        with open(Path(self.artifacts.options["folder"]) / name, "a") as file:
            file.write(f"{os.getpid()} {os.getppid()}\\n")

    @bentobatch.api(input=DataframeInput(columns=["x0"]), batch=True, output_schema={"prediction": "float64"})
    def predict(self, df):
        if not hasattr(self, "_told"):
            self._told = True
            self._tell("loads")
        hold = Path(self.artifacts.options["folder"]) / "hold"
        if hold.exists():
            self._tell("held")
            while hold.exists():
                time.sleep(0.02)
        return df["x0"] * 2

    @bentobatch.api(input=DataframeInput(columns=["name"]), batch=True)
    def lookup(self, df):
        return df["name"].map(lambda name: {"red": 1, "green": 2}[name])

    @bentobatch.api(
        input=ArrowInput(columns=["x0", "n"]),
        batch=True,
        output_schema={"half": "uint8", "text": pa.large_string(), "count": "int64"},
    )
    def columns(self, batch):
        rows = batch.num_rows
        count = pa.array([None if n is None else n + 1 for n in batch.column("n").to_pylist()], pa.int64())
        return pa.table({"half": pa.array([7] * rows, pa.uint8()), "text": ["a"] * rows, "count": count})
'''


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the bundle ``watched`` (feature x0), and the files by which its service and the tests talk."""
    folder = tmp_path_factory.mktemp("watched")
    (folder / "bentobatch_spark_services.py").write_text(SERVICES)
    sys.path.insert(0, str(folder))
    try:
        services = importlib.import_module("bentobatch_spark_services")
        service = services.Watched()
        service.pack("options", {"folder": str(folder)})
        service.save_to_dir(str(folder / "bundle"))
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("bentobatch_spark_services", None)


@pytest.fixture
def hold(watched: Path) -> Iterator[Path]:
    """While this file is there, the service ``watched`` scores nothing; "held" then lists who waits."""
    (watched / "held").unlink(missing_ok=True)
    (watched / "hold").touch()
    yield watched / "hold"
    (watched / "hold").unlink(missing_ok=True)
