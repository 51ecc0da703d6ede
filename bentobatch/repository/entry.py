"""This module tells of one saved bundle what lists and pages show, without opening the bundle."""

from __future__ import annotations

import base64
import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from bentobatch.bundle.manifest import Manifest
from bentobatch.bundle.signatures import Signature
from bentobatch.bundle.verify import bundle_size
from bentobatch.errors import UsageError
from bentobatch.tags import Tag, check_name, check_version

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One saved bundle of a repository.

    ``created_at`` is UTC without a zone, as in the manifest. ``size``: bytes of its files. ``uri``: where they lie, a path
    or a URL. ``metadata`` is what ``describe`` makes of the manifest: JSON values. ``signatures`` are as they lie beside
    the bundle, unchecked; ``list`` leaves them out.
    """

    name: str
    version: str
    digest: str
    size: int
    created_at: datetime.datetime
    uri: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    signatures: tuple[Signature, ...] = ()

    @property
    def tag(self) -> Tag:
        """``name:version``."""
        return Tag(self.name, self.version)

    def to_json(self) -> dict[str, Any]:
        """The JSON that ``bentobatch get NAME:VERSION`` prints; ``from_json`` makes the same entry of it."""
        kind = self.uri.partition("://")[0].upper() if "://" in self.uri else "LOCAL"
        return {
            "name": self.name,
            "version": self.version,
            "uri": {"type": kind, "uri": self.uri},
            "bentoServiceMetadata": {
                "name": self.name,
                "version": self.version,
                "createdAt": f"{self.created_at.isoformat(timespec='microseconds')}Z",
                "labels": dict(self.labels),
                **self.metadata,
            },
            "digest": self.digest,
            "size": self.size,
            "signatures": [dict(one) for one in self.signatures],
        }

    @classmethod
    def from_json(cls, value: Any) -> Entry:
        """The entry of which ``to_json`` made ``value``, which may come from a stranger.

        Raises:
            ValueError: it is no such value.
        """
        try:
            metadata = dict(value["bentoServiceMetadata"])
            created, labels = metadata.pop("createdAt"), metadata.pop("labels", {})
            del metadata["name"], metadata["version"]
            if not _DIGEST.fullmatch(value["digest"]):  # it names a folder in the cache
                raise ValueError("its digest is malformed")
            if not isinstance(metadata["env"], dict) or not all(
                isinstance(one, dict) for part in ("artifacts", "apis") for one in metadata[part]
            ):
                raise TypeError("its metadata are malformed")
            return cls(
                name=check_name(value["name"]),
                version=check_version(value["version"]),
                digest=value["digest"],
                size=int(value["size"]),
                created_at=datetime.datetime.fromisoformat(created.removesuffix("Z")).replace(tzinfo=None),
                uri=str(value["uri"]["uri"]),
                labels={str(key): str(text) for key, text in labels.items()},
                metadata=metadata,
                signatures=tuple(
                    {str(key): str(text) for key, text in one.items()} for one in value.get("signatures", ())
                ),
            )
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise ValueError(f"it is no entry of a repository ({type(error).__name__}: {error})") from error


def entry_of(manifest: Manifest, *, uri: str, labels: Mapping[str, str] | None = None) -> Entry:
    """The entry of a bundle by its manifest. ``labels``: by default those that it was saved with."""
    saved_with = manifest.content.get("labels") or {}
    return Entry(
        name=manifest.service_name,
        version=manifest.service_version,
        digest=manifest.digest,
        size=bundle_size(manifest),
        created_at=manifest.created_at,
        uri=uri,
        labels=dict(saved_with if labels is None else labels),
        metadata=describe(manifest),
    )


def describe(manifest: Manifest) -> dict[str, Any]:
    """What a manifest says of env, artifacts and apis, in JSON values, under the names that BentoML's users know."""
    content = manifest.content
    env = content.get("env") or {}
    packages = env.get("requirements_txt") or "\n".join(map(str, env.get("pip_packages") or []))
    described = {
        "env": {
            "condaEnv": _conda_text(env.get("conda_env") or {}),
            "pipDependencies": packages.strip(),
            "pythonVersion": str(env.get("python_version") or ""),
            "dockerBaseImage": str(env.get("docker_base_image") or ""),
        },
        "artifacts": [
            {"name": one.get("name"), "artifactType": one.get("artifact_type"), "metadata": one.get("metadata") or {}}
            for one in content.get("artifacts") or []
        ],
        "apis": [_described_api(api) for api in content.get("apis") or []],
    }
    found: dict[str, Any] = _json_values(described)
    return found


def _described_api(api: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": api.get("name"),
        "InputType": api.get("input_type"),
        "OutputType": api.get("output_type"),
        "docs": api.get("docs") or "",
        "route": api.get("route") or api.get("name"),
        "batch": bool(api.get("batch")),
        "mbMaxBatchSize": api.get("mb_max_batch_size"),
        "mbMaxLatency": api.get("mb_max_latency"),
        "inputConfig": api.get("input_config") or {},
        "outputConfig": api.get("output_config") or {},
        "inputSchema": api.get("input_schema"),
        "outputSchema": api.get("output_schema"),
    }


def _conda_text(conda: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(conda), sort_keys=False) if conda else ""


def _json_values(value: Any) -> Any:
    """``value`` in what JSON has: YAML has times and bytes, and its numbers may be no numbers."""
    if isinstance(value, Mapping):
        return {str(key): _json_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if value is None or isinstance(value, (str, bool, int, float)) else str(value)
