"""This module tests what an artifact says where its library is not installed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bentobatch import plugins
from bentobatch.errors import MissingDependencyError
from bentobatch.frameworks.libraries import EXTRAS

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = {
    "SklearnModelArtifact": "sklearn",
    "XgboostModelArtifact": "xgboost",
    "LightGBMModelArtifact": "lightgbm",
    "CatBoostModelArtifact": "catboost",
    "StatsmodelsModelArtifact": "statsmodels",
    "SkopsModelArtifact": "skops",
    "SpacyModelArtifact": "spacy",
    "FasttextModelArtifact": "fasttext",
    "H2oModelArtifact": "h2o",
}


@pytest.mark.parametrize(("artifact", "module"), LIBRARIES.items(), ids=LIBRARIES)
@pytest.mark.parametrize("way", ["pack", "load"])
def test_a_missing_library_names_its_extra(
    way: str, artifact: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed or loaded: one line that names the artifact, the library and what to install."""
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    made = plugins.find("frameworks", artifact)("model")
    (tmp_path / "given").write_bytes(b"")
    with pytest.raises(MissingDependencyError) as caught:
        made.pack(tmp_path / "given") if way == "pack" else made.load(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{artifact} 'model' needs the library {module}, which is not installed")
    assert text.endswith(f"pip install bentobatch[{EXTRAS[module]}]")


def test_every_extra_that_a_message_names_exists() -> None:
    """In pyproject.toml."""
    extras = re.findall(r"^([\w-]+) = \[\"", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(EXTRAS.values()) <= set(extras)
