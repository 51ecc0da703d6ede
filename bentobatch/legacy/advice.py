"""This module says why a model of an old bundle cannot be loaded here: which library wrote it, in which version, what to
install. It reads the bundle's requirements and the names in the pickle; nothing is executed for it."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bentobatch.errors import BentobatchError, BundleError, MissingDependencyError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.pickle_names import open_stream, references_in
from bentobatch.service.environment import distribution_of

_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "cv2": "opencv-python",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
    "paddle": "paddlepaddle",
    "pytorch_lightning": "pytorch-lightning",
}
"""The distributions of modules that have another name."""
_NEVER_THE_CAUSE = sys.stdlib_module_names | {"__main__", "bentoml", "cloudpickle", "joblib"}
_BASIC = ("numpy", "scipy", "pandas")
_PIN = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*={2,3}\s*([A-Za-z0-9][\w.!+-]*)")
_SKLEARN_VERSION = re.compile(rb"_sklearn_version.{0,6}?(?:X....|\x8c.)(\d+\.\d+[\w.]*)", re.DOTALL)
_MODULE_IN_TEXT = re.compile(r"<module '([\w.]+)'|^module '([\w.]+)' has no|No module named '([\w.]+)'|on ([\w.]+)$")
_MOST_BYTES = 64 << 20


def explain(
    error: BentobatchError,
    artifact: BentoServiceArtifact,
    folder: Path,
    *,
    requirements: Iterable[str],
    python_version: str,
    own_modules: Iterable[str] = (),
) -> BentobatchError:
    """The error that says what to install for ``error``, which ``artifact.load(folder)`` raised; ``error`` itself where
    the reason is another one (pickles are refused, a file is missing, byte code, the bundle's own code).

    ``requirements``: the lines of the bundle's requirements.txt. ``own_modules``: the top names of its own modules.
    """
    cause = error.__cause__
    if cause is None or isinstance(cause, (FileNotFoundError, SyntaxError)):
        return error
    blamed = _module_of(cause)
    if blamed is not None and (blamed in own_modules or blamed.startswith("_bentobatch_bundle_")):
        return error
    pins = pinned_versions(requirements)
    files = sorted(folder.glob(f"{artifact.name}.*"))
    named = _libraries(blamed, artifact, files, pins)
    if not named:
        return error
    main, others = named[0], named[1:]
    written = _written(main, files, pins)
    here = _installed(main)
    reason = " ".join(f"{type(cause).__name__}: {cause}".split())[:300]
    by = f"{main} {written}" if written else f"{main} (its version stands nowhere in the bundle)"
    there = f"{main} {here}" if here else f"no {main}"
    wanted = [f"{main}=={written}" if written else main]
    wanted += [f"{name}=={pins[name]}" for name in others if name in pins and pins[name] != _installed(name)]
    kind = MissingDependencyError if here is None else BundleError
    return kind(
        f"bundle {folder.parent.parent}: {artifact.owner} cannot be loaded here ({reason}): it was written with {by} on "
        f"Python {python_version}, and here is {there} on Python {platform.python_version()}; "
        f"pip install {' '.join(wanted)}{_other(python_version)}"
    )


def pinned_versions(requirements: Iterable[str]) -> dict[str, str]:
    """The versions that lines such as ``scikit-learn==0.24.2`` pin, by the distribution's normalised name."""
    found = (_PIN.match(line) for line in requirements)
    return {distribution_of(match[1]): match[2] for match in found if match}


def _other(python_version: str) -> str:
    wrote = python_version.split(".")[:2]
    if wrote == platform.python_version().split(".")[:2]:
        return ", or pack the model again"
    return f", with Python {'.'.join(wrote)} where that release is not for this one, or pack the model again"


def _libraries(
    blamed: str | None, artifact: BentoServiceArtifact, files: Iterable[Path], pins: Mapping[str, str]
) -> list[str]:
    """The distributions that may be to blame: the one that the error names, the artifact's own, then by their pins."""
    tops = {module.partition(".")[0] for module in _named_in(files)} - _NEVER_THE_CAUSE
    found = [] if blamed is None or blamed in _NEVER_THE_CAUSE else [_distribution(blamed)]
    if blamed is None or blamed in _NEVER_THE_CAUSE:
        mine = [distribution_of(name) for name in artifact.pip_packages]
        found += [name for name in mine if name not in _NEVER_THE_CAUSE]
    rest = sorted(map(_distribution, tops), key=lambda name: (name in _BASIC, name not in pins, name))
    return list(dict.fromkeys([*found, *(name for name in rest if name in pins or _installed(name))]))


def _module_of(cause: BaseException) -> str | None:
    """The top name of the module that the error is about."""
    name: Any = getattr(cause, "name", None) if isinstance(cause, ImportError) else None
    if name is None:
        match = _MODULE_IN_TEXT.search(str(cause))
        name = next((group for group in match.groups() if group), None) if match else None
    return name.partition(".")[0] if isinstance(name, str) else None


def _named_in(files: Iterable[Path]) -> set[str]:
    named: set[str] = set()
    for file in files:
        try:
            with file.open("rb") as stream:
                named |= {module for module, _ in references_in(stream, str(file))}
        except (BundleError, OSError):  # no pickle, or one cut off: what it names stays unknown
            continue
    return named


def _written(distribution: str, files: Iterable[Path], pins: Mapping[str, str]) -> str | None:
    """The version that wrote the model: the one in the file itself, where scikit-learn has left it, else the pin."""
    if distribution == "scikit-learn":
        for file in files:
            with file.open("rb") as stream:
                match = _SKLEARN_VERSION.search(_head(stream))
            if match:
                return match[1].decode("ascii")
    return pins.get(distribution)


def _head(stream: Any) -> bytes:
    try:
        data: bytes = open_stream(stream).read(_MOST_BYTES)
    except Exception:  # noqa: BLE001 - a compressor's own errors; the version is then taken from the pins
        return b""
    return data


def _distribution(module: str) -> str:
    return distribution_of(_DISTRIBUTIONS.get(module, module))


def _installed(distribution: str) -> str | None:
    """Its version here; that of a stand-in, such as xgboost-cpu for xgboost, counts too."""
    for name in (distribution, f"{distribution}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
