"""This module checks the bentoml.yml of BentoML 0.13 and before, and takes out of it what loading needs."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from bentobatch.tags import check_service_name

KIND = "BentoService"

_MODULE = re.compile(r"[^\s./\\:]+(\.[^\s./\\:]+)*")
_VERSION = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,255}")
_WRITER = re.compile(r"0(\.\w[\w.+-]*)?")
_ARTIFACT = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Description:
    """``written_by`` is BentoML's version. ``class_name`` is the service's name, which nearly always is the class's too.
    ``artifacts``: name -> metadata."""

    written_by: str
    service_name: str
    service_version: str
    module_name: str
    class_name: str
    created_at: datetime.datetime
    artifacts: Mapping[str, Mapping[str, Any]]


def is_legacy(content: Mapping[str, Any]) -> bool:
    """Whether BentoML wrote this manifest, in the form that it had up to 0.13."""
    return (
        "format_version" not in content
        and content.get("kind", KIND) == KIND
        and isinstance(content.get("metadata"), Mapping)
        and "module_file" in content["metadata"]
        and _WRITER.fullmatch(str(content.get("version"))) is not None
    )


def describe(content: Mapping[str, Any]) -> Description:
    """The parts of a legacy manifest.

    Raises:
        KeyError, TypeError, ValueError, UsageError: a key is missing, or its value is not what BentoML wrote.
    """
    metadata = content["metadata"]
    version = str(metadata["service_version"])
    if not _VERSION.fullmatch(version) or version.lower() == "latest":
        raise ValueError(f"service_version is {version!r}")
    name = check_service_name(metadata["service_name"])
    return Description(
        written_by=str(content["version"]),
        service_name=name,
        service_version=version,
        module_name=_module(metadata),
        class_name=name,
        created_at=_created_at(metadata["created_at"]),
        artifacts=_artifacts(content.get("artifacts") or []),
    )


def _module(metadata: Mapping[str, Any]) -> str:
    """The dotted name by which the service's file is found. BentoML loaded by the file, so that name wins."""
    name, file = metadata["module_name"], metadata["module_file"]
    if not isinstance(name, str) or not isinstance(file, str):
        raise TypeError(f"module_name is {name!r}, module_file {file!r}")
    path = PureWindowsPath(file).as_posix()  # a bundle that was saved on Windows has \ in it
    parts = path.removesuffix(".py").split("/")
    dotted = ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)
    if not path.endswith(".py") or path.startswith("/") or not _MODULE.fullmatch(dotted):
        raise ValueError(f"module_file is {file!r}")
    return dotted


def _created_at(value: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value if value.tzinfo is None else value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    if isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        return _created_at(datetime.datetime.fromisoformat(value))
    raise TypeError(f"created_at is {value!r}")


def _artifacts(listed: Any) -> dict[str, Mapping[str, Any]]:
    if not isinstance(listed, list):
        raise TypeError("artifacts is no list")
    found: dict[str, Mapping[str, Any]] = {}
    for artifact in listed:
        name, metadata = artifact["name"], artifact.get("metadata")
        if not isinstance(name, str) or not _ARTIFACT.fullmatch(name):  # it is part of the names of files
            raise ValueError(f"an artifact's name is {name!r}")
        found[name] = metadata if isinstance(metadata, Mapping) else {}
    return found
