"""This module tests the versions that constraints.txt notes, and which of them it leaves out so that pip finds a way."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from bentobatch.bundle.constraints import constraints
from tests.bundle.projects import on_search_path, write_files
from tests.bundle.services import save_service


def distributions(folder: Path) -> Path:
    """app 2.1 needs lib 1.5 and tool 3; lib needs base 1.0; placed was installed from a folder; extra is one of lib's."""
    known = {
        "app": ("2.1", ["lib>=1", "tool", "gone; python_version < '3'"]),
        "lib": ("1.5+cpu", ["base", "extra; extra == 'more'"]),
        "tool": ("3", []),
        "base": ("1.0", []),
        "extra": ("1", []),
        "placed": ("1", []),
        "odd": ("1.0rc1", []),
    }
    files: dict[str, str | bytes] = {}
    for name, (version, requires) in known.items():
        lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
        info = f"h6x_{name}-{version}.dist-info"
        files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: h6x-{name}\nVersion: {version}\n" + lines.replace(
            "Requires-Dist: ", "Requires-Dist: h6x-"
        )
    files["h6x_placed-1.dist-info/direct_url.json"] = "{}"
    return write_files(folder, files)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["--index-url https://example.org", "# note", "h6x-app==2.1"], "app==2.1 base==1.0 lib==1.5 tool==3"),
        (["h6x-app"], "app==2.1 base==1.0 lib==1.5 tool==3"),
        (["h6x_App[x]>=2,<3 ; python_version > '3'"], "app==2.1 base==1.0 lib==1.5 tool==3"),
        (["h6x-app~=2.0", "h6x-tool!=4.*", "h6x-base==1"], "app==2.1 base==1.0 lib==1.5 tool==3"),
        (["h6x-app", "h6x-base<1"], "tool==3"),  # app and lib may have to be others, for another base
        (["h6x-app", "h6x-lib==1.4"], "tool==3"),  # and base, for another lib
        (["h6x-lib~=1.4.0", "h6x-tool>3.0"], ""),
        (["h6x-tool @ https://example.org/x.whl"], ""),
        (["h6x-odd==1.0rc1", "h6x-tool===3"], "tool==3"),  # what is not plain numbers is not judged
        (["h6x-placed", "h6x-nowhere", "git+https://example.org/x"], ""),
    ],
)
def test_versions_are_noted_where_they_fit_what_is_declared(tmp_path: Path, lines: list[str], expected: str) -> None:
    """All that the requirements lead to and is installed; nothing that could contradict another requirement."""
    with on_search_path(distributions(tmp_path)):
        assert " ".join(constraints(lines)).replace("h6x-", "") == expected


def test_a_bundle_has_the_versions_of_this_environment(tmp_path: Path) -> None:
    """Those of bentobatch's own libraries, and of its server's, where they are installed."""
    bundle = save_service(tmp_path / "p", tmp_path / "b")
    lines = (bundle / "constraints.txt").read_text().splitlines()
    for name in ("numpy", "pandas", "cloudpickle", "click"):
        assert f"{name}=={importlib.metadata.version(name)}" in lines
    assert not any(line.startswith("bentobatch") for line in lines)
    assert lines == sorted(lines)
