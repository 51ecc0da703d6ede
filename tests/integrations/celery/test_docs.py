"""docs/celery.md says what is so: its code runs as it stands there, against a worker with its settings."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.celery.conftest import started

PAGE = Path(__file__).parents[3] / "docs" / "celery.md"


def test_the_ten_lines_work(bundles: Path, flowers: Path, tmp_path: Path) -> None:
    """As a script of its own, in a folder with the bundle and the file that the page names; only the queue is another."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shell, _ = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    arguments = re.search(r"^celery -A bentobatch_celery.app worker (.*)$", shell, re.MULTILINE)
    assert arguments is not None
    shutil.copytree(bundles / "linear", tmp_path / "bundles" / "linear")
    (tmp_path / "score.py").write_text(code)
    roots = {"BENTOBATCH_WORKER_ROOTS": str(tmp_path)}
    with started("redis", tmp_path / "worker", *arguments.group(1).split(), **roots) as workers:
        done = subprocess.run(
            [sys.executable, "score.py"],
            cwd=tmp_path,
            env=workers.environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] in ("PENDING 5", "PROGRESS 5")  # row groups of 100 rows, of which two fit into a split
    assert lines[1] == f"1000 celery {tmp_path / 'out.parquet'}"


@pytest.mark.parametrize("name", ["submit", "register_tasks", "BentoResult", "CeleryScheduler"])
def test_the_public_names_are_those_of_the_package(name: str) -> None:
    """Each is imported at first use, and another name is an AttributeError."""
    import bentobatch_celery

    assert name in bentobatch_celery.__all__
    assert callable(getattr(bentobatch_celery, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bentobatch_celery.nothing  # noqa: B018
