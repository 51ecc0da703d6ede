"""This module tests which files of a project go into a bundle, and which do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bentobatch.bundle.local_code import find_local_code
from bentobatch.bundle.origins import origin_of
from bentobatch.errors import UsageError
from tests.bundle.projects import on_search_path, project, write_files

PROJECT = {
    "service.py": """
        import json, numpy
        import helper
        def predict():
            from inner_pkg.deep import thing
            try:
                import fast_helper
            except ImportError:
                import slow_helper as fast_helper
            import importlib
            importlib.import_module("by_name")
    """,
    "helper.py": "from second_helper import *",
    "second_helper.py": "import yaml",
    "slow_helper.py": "",
    "by_name.py": "",
    "inner_pkg/__init__.py": "",
    "inner_pkg/deep/__init__.py": "from .. import sibling",
    "inner_pkg/deep/thing.py": "",
    "inner_pkg/sibling.py": "import pyarrow.parquet",
    "inner_pkg/data/words.txt": "words",
    "inner_pkg/.hidden": "",
    "inner_pkg/__pycache__/old.cpython-311.pyc": "",
    "unrelated.py": "",
    "unrelated_big.parquet": "x" * 1_000_000,
    "notes/readme.md": "",
}


def test_the_imported_modules_and_whole_packages_are_taken_and_nothing_else(tmp_path: Path) -> None:
    """A single module as a file, a package whole with its data files, no other files of the folder."""
    with project(tmp_path, PROJECT):
        code = find_local_code("service")
    assert sorted(code.files) == [
        "by_name.py", "helper.py",
        "inner_pkg/__init__.py", "inner_pkg/data/words.txt", "inner_pkg/deep/__init__.py", "inner_pkg/deep/thing.py",
        "inner_pkg/sibling.py", "second_helper.py", "service.py", "slow_helper.py",
    ]  # fmt: skip
    assert code.files["helper.py"] == tmp_path / "helper.py"
    assert {"numpy", "yaml", "pyarrow.parquet", "fast_helper"} <= code.foreign


@pytest.mark.parametrize("folder", ["lib", "lib64", "bin", "python3", "site-packages-mine", "dist-packages"])
def test_a_folders_name_never_makes_its_modules_foreign(tmp_path: Path, folder: str) -> None:
    """D23: projects in folders named lib, bin or python* are projects."""
    with project(tmp_path / folder / "python3.11", {"service.py": "import helper", "helper.py": ""}):
        assert sorted(find_local_code("service").files) == ["helper.py", "service.py"]


def test_a_service_in_a_package_takes_the_package(tmp_path: Path) -> None:
    """mypkg/service.py: the whole package goes along, under its own name."""
    files = {"mypkg/__init__.py": "", "mypkg/service.py": "from . import part", "mypkg/part.py": "", "other.py": ""}
    with project(tmp_path, files, "mypkg.service"):
        assert sorted(find_local_code("mypkg.service").files) == [
            "mypkg/__init__.py",
            "mypkg/part.py",
            "mypkg/service.py",
        ]


def test_a_folder_without_init_gives_only_what_is_imported(tmp_path: Path) -> None:
    """src/ without __init__.py is a namespace, as the project's folder is: no data files, no unrelated modules."""
    files = {
        "src/service.py": "from src.models import net\nfrom src import util",
        "src/models/__init__.py": "",
        "src/models/net.py": "",
        "src/models/weights.bin": "w",
        "src/util.py": "",
        "src/unrelated.py": "",
        "src/big.csv": "1",
    }
    with project(tmp_path, files, "src.service"):
        assert sorted(find_local_code("src.service").files) == [
            "src/models/__init__.py", "src/models/net.py", "src/models/weights.bin", "src/service.py", "src/util.py",
        ]  # fmt: skip


def test_modules_that_only_the_models_pickles_name_are_taken_too(tmp_path: Path) -> None:
    """service.py need not import what a packed model is made of."""
    files = {"service.py": "", "features.py": "import scaling", "scaling.py": ""}
    with project(tmp_path, files):
        code = find_local_code("service", named_by_models=["features", "sklearn.svm", "numpy", "gone"])
    assert sorted(code.files) == ["features.py", "scaling.py", "service.py"]
    assert {"sklearn.svm", "numpy"} <= code.foreign


def test_a_link_that_leads_out_of_a_package_is_refused(tmp_path: Path) -> None:
    """S15: no file from elsewhere gets into a bundle by a link; one within the package is copied as a file."""
    (tmp_path / "secret").write_text("key")
    with project(tmp_path / "p", {"service.py": "import mypkg", "mypkg/__init__.py": "", "mypkg/a.txt": "a"}):
        inner = tmp_path / "p" / "mypkg" / "b.txt"
        inner.symlink_to("a.txt")
        assert "mypkg/b.txt" in find_local_code("service").files
        inner.unlink()
        inner.symlink_to(tmp_path / "secret")
        with pytest.raises(UsageError, match=r"b\.txt.*leads out"):
            find_local_code("service")
        inner.unlink()
        (tmp_path / "p" / "mypkg" / "folder").symlink_to(tmp_path)
        with pytest.raises(UsageError, match="folder"):
            find_local_code("service")


def test_a_fifo_in_a_package_is_refused_and_not_opened(tmp_path: Path) -> None:
    """Only regular files can be copied; opening a FIFO would hang."""
    with project(tmp_path, {"service.py": "import mypkg", "mypkg/__init__.py": ""}):
        os.mkfifo(tmp_path / "mypkg" / "pipe")
        with pytest.raises(UsageError, match=r"pipe.*no regular file"):
            find_local_code("service")


def test_a_file_name_that_no_manifest_can_hold_is_refused(tmp_path: Path) -> None:
    """A backslash or a line break in a name would be another path elsewhere."""
    with project(tmp_path, {"service.py": "import mypkg", "mypkg/__init__.py": "", "mypkg/a\\b.txt": ""}):
        with pytest.raises(UsageError, match="rename the file"):
            find_local_code("service")
        (tmp_path / "mypkg" / "a\\b.txt").rename(tmp_path / "mypkg" / "a\nb.txt")
        with pytest.raises(UsageError, match="rename the file"):
            find_local_code("service")


def test_a_service_in_main_is_refused_with_the_way_out() -> None:
    """A class in __main__ cannot be imported by another process; the message says what to do."""
    with pytest.raises(UsageError, match=r"__main__.*%%writefile service\.py"):
        find_local_code("__main__")


def test_a_package_that_only_holds_code_for_another_python_is_still_copied(tmp_path: Path) -> None:
    """A file that does not parse is data as far as imports go."""
    files = {"service.py": "import mypkg", "mypkg/__init__.py": "", "mypkg/template.py": "print {{ x }}"}
    with project(tmp_path, files):
        assert "mypkg/template.py" in find_local_code("service").files


def test_where_modules_come_from(tmp_path: Path) -> None:
    """The standard library and the site folders are known from the interpreter, the rest is local."""
    with on_search_path(write_files(tmp_path, {"mine.py": "", "statistics2.py": ""})):
        names = [
            "os",
            "sys",
            "json.decoder",
            "collections.abc",
            "numpy.linalg",
            "sklearn",
            "mine",
            "no_such",
            "bentobatch",
        ]
        assert {name: origin_of(name) for name in names} == {
            "os": "standard", "sys": "standard", "json.decoder": "standard", "collections.abc": "standard",
            "numpy.linalg": "installed", "sklearn": "installed", "mine": "local", "no_such": "missing",
            "bentobatch": "installed",
        }  # fmt: skip


def test_a_distribution_unpacked_beside_the_project_is_no_project(tmp_path: Path) -> None:
    """pip install --target deps leaves a RECORD beside the modules; the egg-info of a build is no such thing."""
    files = {
        "deps/thing/__init__.py": "",
        "deps/thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n",
        "deps/thing-1.0.dist-info/RECORD": "thing/__init__.py,,\nthing-1.0.dist-info/METADATA,,\n",
        "deps/own/__init__.py": "",
        "deps/own.egg-info/PKG-INFO": "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n",
        "deps/own.egg-info/SOURCES.txt": "own/__init__.py\n",
        "deps/own.egg-info/top_level.txt": "own\n",
    }
    with on_search_path(write_files(tmp_path, files) / "deps"):
        assert (origin_of("thing"), origin_of("own")) == ("installed", "local")


def test_finding_code_runs_none_of_it(tmp_path: Path) -> None:
    """Packages are looked into without executing their __init__."""
    files = {
        "service.py": "def predict():\n    import loud.inner, ns.deep.mod\n",
        "loud/__init__.py": "raise SystemExit('ran')",
        "loud/inner.py": "",
        "ns/deep/__init__.py": "raise SystemExit('ran')",
        "ns/deep/mod.py": "",
    }
    with project(tmp_path, files):
        assert sorted(find_local_code("service").files) == [
            "loud/__init__.py", "loud/inner.py", "ns/deep/__init__.py", "ns/deep/mod.py", "service.py",
        ]  # fmt: skip
        assert "loud" not in sys.modules


def test_a_module_of_a_zip_archive_is_refused_with_its_name(tmp_path: Path) -> None:
    """Code in an archive has no file to copy."""
    import zipfile

    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr("zipped.py", "")
    files = {"service.py": "def predict():\n    import zipped"}
    with (
        project(tmp_path / "p", files),
        on_search_path(tmp_path / "code.zip"),
        pytest.raises(UsageError, match="zipped"),
    ):
        find_local_code("service")


def test_an_editable_installed_project_is_local(tmp_path: Path) -> None:
    """Its files are outside the site folders, whatever its distribution's metadata say."""
    files = {
        "project/src/editable_thing/__init__.py": "",
        "site/editable_thing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: editable-thing\nVersion: 1.0\n",
        "site/editable_thing-1.0.dist-info/RECORD": "__editable__.editable_thing.pth,,\n",
        "site/editable_thing-1.0.dist-info/top_level.txt": "editable_thing\n",
    }
    write_files(tmp_path, files)
    with on_search_path(tmp_path / "site"), on_search_path(tmp_path / "project" / "src"):
        assert origin_of("editable_thing") == "local"


def test_a_main_that_is_a_script_is_refused_in_a_real_process(tmp_path: Path) -> None:
    """The check holds where it matters: in python service.py."""
    script = "from bentobatch.bundle.local_code import check_module\nclass A: pass\ncheck_module(A.__module__)"
    write_files(tmp_path, {"script.py": script})
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "put the class into a file of its own" in done.stderr
