"""docs/dask.md says what is so: its code runs as it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "dask.md"


def test_the_ten_lines_work(bundles: Path, flowers: Path, tmp_path: Path) -> None:
    """As a script of its own, in a folder with the bundle and the file that the page names."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shutil.copytree(bundles / "linear", tmp_path / "bundles" / "linear")
    (tmp_path / "score.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "score.py"], cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"1000 dask {tmp_path / 'out.parquet'}", "float64 1000"]


@pytest.mark.parametrize("name", ["run_job", "predict", "DaskScheduler"])
def test_the_public_names_are_those_of_the_package(name: str) -> None:
    """Each is imported at first use, and another name is an AttributeError."""
    import bentobatch_dask

    assert name in bentobatch_dask.__all__
    assert callable(getattr(bentobatch_dask, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bentobatch_dask.nothing  # noqa: B018
