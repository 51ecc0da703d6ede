"""This module says what is served: the manifest of the service's bundle, without the list of its files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bentobatch.adapters.json_text import json_text
from bentobatch.bundle.load import origin_of_service
from bentobatch.bundle.manifest import read_manifest
from bentobatch.service.core import ServiceCore

_CREDENTIALS = re.compile(r"://[^/@\s\"]+@")
_LEFT_OUT = frozenset({"files", "env"})
_OF_ENV = ("python_version", "pip_packages", "requirements_txt", "docker_base_image", "conda_env")
"""Where packages come from, and the set-up script, may have credentials in them: they are not shown."""


def metadata_of(service: ServiceCore) -> Any:
    """The metadata, as JSON values. A service that was not loaded from a bundle tells its name and apis."""
    origin = origin_of_service(service)
    if origin is None:
        told: dict[str, Any] = {
            "name": service.name,
            "version": service.version,
            "apis": [api.describe() for api in service.inference_apis],
            "artifacts": [{"name": name} for name in service.artifacts],
        }
    else:
        manifest = read_manifest(Path(origin.path))
        env = manifest.content.get("env") or {}
        told = {
            "name": manifest.service_name,
            "version": manifest.service_version,
            "created_at": f"{manifest.created_at.isoformat(timespec='seconds')}Z",
            "digest": f"sha256:{origin.digest}",
            **{key: value for key, value in manifest.content.items() if key not in _LEFT_OUT and key != "digest"},
            "env": {key: env[key] for key in _OF_ENV if key in env},
        }
    return json.loads(_CREDENTIALS.sub("://", json_text(told)))
