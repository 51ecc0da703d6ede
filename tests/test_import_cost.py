"""This module tests that importing bentobatch costs next to nothing and has no effect."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import bentobatch

ROOT = Path(__file__).parents[1]
HEAVY = (
    "pandas", "pyarrow", "numpy", "sklearn", "joblib", "xgboost", "lightgbm", "fsspec", "yaml", "click", "cloudpickle",
    "dask", "pyspark", "airflow", "celery", "flask", "sqlalchemy", "importlib.metadata", "asyncio",
)  # fmt: skip


def modules_after(code: str) -> set[str]:
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    """Not one library beside Python's own, and of bentobatch only the package itself."""
    loaded = modules_after("import bentobatch")
    assert loaded.isdisjoint(HEAVY)
    assert {name for name in loaded if name.startswith("bentobatch")} == {"bentobatch"}


def test_declaring_a_service_imports_no_data_library() -> None:
    """The class, the decorators, tasks and errors come without pandas, pyarrow and numpy."""
    names = "BentoService, api, artifacts, env, ver, web_static_content, load, InferenceTask, UsageError, errors"
    loaded = modules_after(f"from bentobatch import {names}")
    assert loaded.isdisjoint({"pandas", "pyarrow", "numpy", "sklearn", "joblib", "xgboost", "lightgbm", "fsspec"})


def test_the_import_takes_little_processor_time() -> None:
    """Under 0.3 s of CPU in all, the interpreter's own start included."""
    code = "import time, bentobatch\nprint(time.process_time())"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.3


@pytest.mark.parametrize("name", bentobatch.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each is found at its home, and the table of homes has no others."""
    assert getattr(bentobatch, name) is not None
    assert name in dir(bentobatch)


def test_the_table_of_homes_is_the_list_of_names() -> None:
    """Nothing is public by accident, and the type checkers' imports say the same."""
    assert set(bentobatch._HOMES) | {"errors", "__version__"} == set(bentobatch.__all__)
    source = (ROOT / "bentobatch/__init__.py").read_text()
    block = source.partition("if TYPE_CHECKING:")[2].partition("__version__ =")[0]
    named = set(re.findall(r"\b([A-Za-z_]+)\b", re.sub(r"from [\w.]+ import|[(),]", " ", block)))
    assert named | {"__version__"} == set(bentobatch.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As in any module."""
    with pytest.raises(AttributeError, match="no_such_name"):
        bentobatch.no_such_name  # noqa: B018


def test_the_version_is_the_distributions() -> None:
    """One number in both places."""
    tomllib = pytest.importorskip("tomllib", reason="it came with Python 3.11")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == bentobatch.__version__
