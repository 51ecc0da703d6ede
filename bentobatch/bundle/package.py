"""This module makes a bundle an installable Python project: ``pip install ./bundle``, ``python -m build ./bundle``.

The package is named after the service. Its wheel is made by a backend that lies in the bundle itself (build_backend.py),
so that neither setuptools nor a network is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from bentobatch.bundle import layout
from bentobatch.bundle.origins import OWN_DISTRIBUTION
from bentobatch.service.environment import distribution_of

_OLDEST_PYTHON = ">=3.10"
_NUMBERS = re.compile(r"[vV]?([0-9]+(?:\.[0-9]+)*)")
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*"  # the distribution
    r"(?:\[[A-Za-z0-9._, -]*\])?\s*"  # its extras
    r"(?:@\s*[A-Za-z0-9+]+://\S+|\(?\s*(?:[<>=!~]=?=?\s*[A-Za-z0-9.*+!_-]+\s*,?\s*)*\)?)?\s*"  # a URL or versions
    r"(?:;[ A-Za-z0-9._'\"<>=!~()-]+)?"  # a marker
)
_PROJECT = """\
[build-system]
requires = []
build-backend = "bentobatch_build"
backend-path = ["."]
"""


def write_package(folder: Path, service_name: str, service_version: str, own: str) -> None:
    """Write what makes the bundle in ``folder`` a Python project; all its other files but the manifest are there already.

    ``own``: the requirement for bentobatch itself.
    """
    here = Path(__file__).parent
    (folder / service_name / "__init__.py").write_bytes((here / "package_init.py").read_bytes())
    (folder / layout.BUILD_BACKEND).write_bytes((here / "build_backend.py").read_bytes())
    (folder / layout.PROJECT).write_text(_PROJECT, "utf-8")
    lines = (folder / layout.REQUIREMENTS).read_text("utf-8", errors="replace").splitlines()
    bundled = next(iter(sorted((folder / layout.BUNDLED).glob(f"{OWN_DISTRIBUTION}-*.whl"))), None)
    requires = installable(lines)
    extras = []
    if bundled is None:
        extras = ["server"]
        name, _, version = own.partition("==")
        requires += [own, f'{name}[server]=={version}; extra == "server"']
    description = {
        "name": service_name,
        "version": package_version(service_version),
        "service_version": service_version,
        "requires_python": _OLDEST_PYTHON,
        "requires": requires,
        "extras": extras,
        "bundled": None if bundled is None else f"{layout.BUNDLED}/{bundled.name}",
        "files": sorted({*layout.files_below(folder), layout.PACKAGE}),
    }
    (folder / layout.PACKAGE).write_text(json.dumps(description, indent=2) + "\n", "utf-8")


def package_version(version: str) -> str:
    """A service's version in the form that package indexes take (PEP 440): its leading numbers, and the rest as a local
    version. "1.2" stays; "20261128_C0FFEE" is "20261128+c0ffee", "v3" is "3", "nightly" is "0+nightly"."""
    match = _NUMBERS.match(version)
    numbers, rest = (match[1], version[match.end() :]) if match else ("0", version)
    parts = re.findall(r"[a-z0-9]+", rest.lower())
    local = ".".join(str(int(part)) if part.isdecimal() else part for part in parts)
    numbers = ".".join(str(int(number)) for number in numbers.split("."))
    return f"{numbers}+{local}" if local else numbers


def installable(lines: Iterable[str]) -> list[str]:
    """The requirements among the lines of a requirements.txt that a package's metadata can name: no options, no paths.
    That for bentobatch itself is left out."""
    found = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        requirement = re.split(r"(?:^|\s)(?:#|--)", line, maxsplit=1)[0].strip()
        if requirement and _REQUIREMENT.fullmatch(requirement) and distribution_of(requirement) != OWN_DISTRIBUTION:
            found.append(requirement)
    return list(dict.fromkeys(found))
