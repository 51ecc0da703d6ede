"""Tests of ``migrate``: an old bundle becomes one of ours, with the same models, version and values, or nothing does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import bentobatch
from bentobatch.bundle import migrate as migrating
from bentobatch.bundle.load import load
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.migrate import migrate
from bentobatch.errors import BundleError, MissingDependencyError, OutputError, UsageError
from bentobatch.legacy.rewrite import rewritten
from tests.legacy.layout import MANIFEST, SERVICE, write_bundle

FRAME = pd.DataFrame({"x": [1.0, 2.5]})
KEPT = SERVICE.replace("return df", "from bentoml.exceptions import BadInput\n        return df")


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_plain_service_says_import_bentobatch_afterwards(tmp_path: Path) -> None:
    """Version, models and values are the same, the old folder is untouched, and BentoML's own files are gone."""
    old = write_bundle(tmp_path / "old")
    before = snapshot(old)
    made = migrate(old, tmp_path / "new" / "deeper")
    new = Path(made.folder)
    assert (made.tag, made.kept) == ("Doubler:20210831111223_0A1B2C", None)
    assert snapshot(old) == before
    source = (new / "Doubler" / "doubler_service.py").read_text()
    assert "bentoml" not in source
    assert source == SERVICE.replace("bentoml.service.artifacts.common", "bentobatch.frameworks.pickle").replace(
        "bentoml", "bentobatch"
    )
    manifest = read_manifest(new)
    assert manifest.written_by is None
    assert manifest.digest == made.digest
    assert "compatibility" not in manifest.content
    assert manifest.content["env"]["python_version"] == "3.8.18"
    assert "docker_base_image" not in manifest.content["env"]
    files = snapshot(new)
    assert files["Doubler/artifacts/model.pkl"] == before["Doubler/artifacts/model.pkl"]
    own = manifest.content["env"]["bentobatch"]
    expected = f"--find-links bundled_pip_dependencies\n{own}\nscikit-learn==0.24.2\n"
    assert files["requirements.txt"].decode() == expected
    assert own.startswith(f"bentobatch=={bentobatch.__version__}+b")
    assert [path for path in files if path.startswith("bundled_pip_dependencies/")] == [
        f"bundled_pip_dependencies/{own.replace('==', '-')}-py3-none-any.whl"
    ]
    assert files["python_version"] == b"3.8.18"
    assert not {"Dockerfile", "setup.py", "Doubler/__init__.py", "Doubler/bentoml.yml"} & {
        path for path, data in files.items() if data == before.get(path)
    }
    assert load(new).predict(FRAME).tolist() == load(old).predict(FRAME).tolist() == [2.0, 5.0]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["deeper"]


def test_a_service_that_needs_bentomls_names_keeps_them(tmp_path: Path, installed_bentoml: Path) -> None:
    """Its code stays byte for byte, the manifest declares what it is given, and it goes on working without BentoML."""
    old = write_bundle(tmp_path / "old", KEPT)
    made = migrate(old, tmp_path / "new")
    assert made.kept is not None
    assert "Doubler/doubler_service.py: line 12 imports BadInput from bentoml.exceptions" in made.kept
    assert snapshot(tmp_path / "new")["Doubler/doubler_service.py"] == snapshot(old)["Doubler/doubler_service.py"]
    content = read_manifest(tmp_path / "new").content
    assert content["compatibility"] == {"bentoml": "0.13.1", "python_version": "3.8.18"}
    assert load(tmp_path / "new").predict(FRAME).tolist() == [2.0, 5.0]
    assert not list(installed_bentoml.rglob("touched"))


def test_saving_a_loaded_old_service_keeps_what_its_code_needs(tmp_path: Path) -> None:
    """`svc.save_to_dir` of a service that was loaded from BentoML's bundle gives a bundle of ours that loads."""
    service = load(write_bundle(tmp_path / "old", KEPT))
    service.save_to_dir(tmp_path / "again")
    assert read_manifest(tmp_path / "again").content["compatibility"]["bentoml"] == "0.13.1"
    assert load(tmp_path / "again").predict(FRAME).tolist() == [2.0, 5.0]


def test_everything_in_the_bundle_goes_along(tmp_path: Path) -> None:
    """Local packages, zip archives, web pages, the setup script, metadata, and whatever files the models have."""
    service = SERVICE.replace("@bentoml.env(", "@bentoml.web_static_content('./ui')\n@bentoml.env(").replace(
        "return df", "import inner.more\n        import zipped\n        return inner.more.ONE * zipped.ONE * df"
    )
    text = MANIFEST.format(
        version="0.13.1",
        name="Doubler",
        service_version="v1",
        module="doubler_service",
        module_file="doubler_service.py",
        python="3.8.18",
    ).replace("metadata: {}", "metadata: {lr: 1e-05, ok: yes}")
    text = text.replace("  conda_env:", "  setup_sh: !!binary |\n    ZWNobyBoaQo=\n  conda_env:")
    files = {
        "inner/more.py": "ONE = 1\n",
        "inner/data.txt": "text",
        "web_static_content/index.html": "<p>hi</p>",
        "artifacts/model_saved_model/variables/data": b"\0\1",
    }
    old = write_bundle(tmp_path / "old", service, files=files, manifest=text, zipped={"zipped.py": "ONE = 1\n"})
    (old / "setup.sh").write_text("echo hi\n")
    migrate(old, tmp_path / "new")
    made = snapshot(tmp_path / "new")
    for path, content in files.items():
        assert made[f"Doubler/{path}"] == (content if isinstance(content, bytes) else content.encode())
    assert made["setup.sh"] == b"echo hi\n"
    manifest = read_manifest(tmp_path / "new")
    assert manifest.artifacts == {"model": {"lr": 1e-05, "ok": "yes"}}
    assert manifest.content["env"]["setup_sh"] == "echo hi\n"
    again = load(tmp_path / "new")
    assert again.predict(FRAME).tolist() == [2.0, 5.0]
    assert Path(again._web_static_content, "index.html").read_text() == "<p>hi</p>"


def test_what_stands_at_the_new_place_is_never_touched(tmp_path: Path) -> None:
    """A folder, an empty one, a file, a dangling link."""
    old = write_bundle(tmp_path / "old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    for name in ("folder", "file", "link", "old"):
        with pytest.raises(OutputError, match="exists already"):
            migrate(old, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"service": "import no_such_library\n" + SERVICE}, MissingDependencyError, "no_such_library"),
        ({"model": b"\x80\x04\x8c\x07no_such\x8c\x01A\x93."}, MissingDependencyError, "here is no no-such"),
        ({"service_version": "1.0.0+b5"}, UsageError, "version '1.0.0.b5' is malformed"),
    ],
)
def test_a_bundle_that_does_not_load_leaves_nothing_behind(
    options: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    """The message is that of loading, and names the old folder."""
    old = write_bundle(tmp_path / "old", **options)
    (tmp_path / "place").mkdir()
    with pytest.raises(kind, match=message) as caught:
        migrate(old, tmp_path / "place" / "new")
    assert ".bentobatch-" not in str(caught.value)
    assert list((tmp_path / "place").iterdir()) == []


def test_a_bundle_that_does_not_load_again_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new bundle is loaded before anybody is told that it is there."""
    loads: list[Path] = []

    def failing(path: Path) -> Any:
        loads.append(path)
        if Path(path) == tmp_path / "new":
            raise BundleError("broken")
        return load(path)

    monkeypatch.setattr(migrating, "load", failing)
    with pytest.raises(BundleError, match="broken"):
        migrate(write_bundle(tmp_path / "old"), tmp_path / "new")
    assert loads[-1] == tmp_path / "new"
    assert not (tmp_path / "new").exists()


def test_new_code_that_does_not_load_is_not_taken(tmp_path: Path) -> None:
    """bentobatch's own @env refuses what BentoML's took: the code stays as it was, and the reason is told."""
    text = SERVICE.replace("infer_pip_packages=True", "docker_base_image='two words'")
    made = migrate(write_bundle(tmp_path / "old", text), tmp_path / "new")
    assert made.kept is not None
    assert made.kept.startswith("rewritten, it does not load (")
    assert load(tmp_path / "new").predict(FRAME).tolist() == [2.0, 5.0]


def test_a_bundle_of_ours_is_not_migrated(tmp_path: Path) -> None:
    """There is nothing to do, and saying so is better than a copy."""
    migrate(write_bundle(tmp_path / "old"), tmp_path / "ours")
    with pytest.raises(UsageError, match="nothing to migrate"):
        migrate(tmp_path / "ours", tmp_path / "more")


def test_requirements_txt_of_the_user_gains_bentobatch(tmp_path: Path) -> None:
    """@env(requirements_txt_file=…) replaced all of BentoML's own lines, so bentoml may not be among them."""
    old = write_bundle(tmp_path / "old")
    (old / "requirements.txt").write_text("--index-url https://example.org/simple\nscikit-learn==0.24.2\n")
    content = yaml.safe_load((old / "bentoml.yml").read_text())
    del content["env"]["pip_packages"]
    content["env"]["requirements_txt"] = (old / "requirements.txt").read_text()
    (old / "bentoml.yml").write_text(yaml.safe_dump(content))
    migrate(old, tmp_path / "new")
    text = (tmp_path / "new" / "requirements.txt").read_text()
    env = read_manifest(tmp_path / "new").content["env"]
    assert text.splitlines() == [
        "--find-links bundled_pip_dependencies", "--index-url https://example.org/simple", "scikit-learn==0.24.2",
        env["bentobatch"],
    ]  # fmt: skip
    assert env["requirements_txt"] == text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import bentoml\n", "import bentobatch\n"),
        ("import bentoml as b\nb.artifacts([])\n", "import bentobatch as b\nb.artifacts([])\n"),
        (
            "if True:\n    from bentoml import (\n        api as a,  # é\n        env\n    )\n    a(input=X(), batch=True)\n",
            "if True:\n    from bentobatch import api as a, env\n    a(input=X(), batch=True)\n",
        ),
        (
            "é = 1; from bentoml.service.artifacts.common import PickleArtifact as P, TextFileArtifact; y = P('a')\n",
            "é = 1; from bentobatch.frameworks.pickle import PickleArtifact as P; "
            "from bentobatch.frameworks.text import TextFileArtifact; y = P('a')\n",
        ),
        ("x = 'é'; import bentoml; bentoml.ver(1, 2)\r\n", "x = 'é'; import bentobatch; bentobatch.ver(1, 2)\r\n"),
        ("'''Uses bentoml. See docs.'''\nimport bentoml\n", "'''Uses bentoml. See docs.'''\nimport bentobatch\n"),
        ("from .bentoml import x\n", "from .bentoml import x\n"),
    ],
)
def test_code_is_rewritten_at_its_imports_and_uses_only(source: str, expected: str) -> None:
    """Everything else stays byte for byte: comments elsewhere, line ends, other letters than ASCII."""
    assert rewritten({"a.py": source.encode()}) == {"a.py": expected.encode()}


@pytest.mark.parametrize(
    "source",
    [
        "import bentoml.adapters\n",
        "import os, bentoml\n",
        "from bentoml import *\n",
        "from bentoml import adapters\n",
        "from bentoml.types import InferenceTask\n",
        "from bentoml.adapters import ImageInput\n",
        "from bentoml.handlers import DataframeHandler\n",
        "import bentoml\nx = bentoml.__version__\n",
        "import bentoml\nf(bentoml)\n",
        "import bentoml\nx = bentoml.adapters.JsonInput()\n",
        "import importlib\nimportlib.import_module('bentoml.types')\n",
        "from bentoml import BentoService\nclass A(BentoService):\n    def __init__(self):\n        pass\n",
        "import bentoml\nclass A(bentoml.BentoService):\n    pass\nclass B(A):\n    pass\n",
        "import bentoml\nbentoml.api(JsonHandler)\n",
        "import bentoml\nbentoml.api(input=X(), batch=flag)\n",
        "import bentoml\nbentoml.api(**options)\n",
        "import bentoml\nbentoml.env(pip_dependencies=[])\n",
        "import bentoml\nbentoml.env(zipimport_archives=[])\n",
        "from bentoml.adapters import DataframeInput\nDataframeInput('frame')\n",
        "from bentoml.adapters import DataframeInput\nDataframeInput(input_dtypes=[])\n",
        "from bentoml.adapters import DataframeInput\nclass A(DataframeInput):\n    pass\n",
        "from bentoml.adapters import DataframeInput\nX = DataframeInput\n",
        "from bentoml.service.artifacts.common import PickleArtifact\nPickleArtifact('a', pickle_module='dill')\n",
        "from bentoml.service.artifacts.common import JSONArtifact\nJSONArtifact('a', 'latin-1')\n",
        "import bentoml\nprint 'python 2'\n",
    ],
)
def test_code_that_may_mean_something_else_is_left_alone(source: str) -> None:
    """All files or none: the reason is a text."""
    assert isinstance(rewritten({"good.py": b"import bentoml\n", "a.py": source.encode()}), str)
