"""This module reads and writes bentoml.yml, the manifest of a bundle.

Its keys are those of BentoML 0.13 (version, kind, metadata, env, apis, artifacts), with these beside them:
``format_version``, ``bentobatch_version``, ``files`` (path -> sha256 and size) and ``digest`` (see digest.py).

The manifest of BentoML 0.13 itself, and of those before it, is read as it is; its digest is computed over the folder.

To change the format: raise FORMAT_VERSION, write only the new one, keep reading every older one, and add a bundle of
the old format to the tests.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bentobatch.bundle.digest import DIGEST_KEY, manifest_digest, member_entry
from bentobatch.bundle.layout import MANIFEST, SIGNATURES, files_below, is_bundle, open_member
from bentobatch.errors import BundleError, NoInputError, UsageError
from bentobatch.legacy.description import describe, is_legacy
from bentobatch.legacy.yaml_1_2 import read_yaml
from bentobatch.tags import check_service_name, check_version

FORMAT_VERSION = 1
KIND = "BentoService"

_MAX_BYTES = 4 << 20
_MAX_DEPTH = 100  # metadata may be nested 50 deep
_DOTTED_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_OURS = re.compile(rb"^format_version:", re.MULTILINE)


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself. ``content`` is the whole bentoml.yml; the rest are the parts that loading needs.

    ``files``: path -> {sha256, size}. ``artifacts``: name -> metadata. ``created_at`` is UTC without a zone, as in 0.13.
    ``class_name`` is the service class's qualified name in ``module_name``; ``service_name`` may differ from it.
    ``written_by`` is the version of BentoML that wrote the bundle, None for one of ours.
    """

    content: Mapping[str, Any]
    service_name: str
    service_version: str
    module_name: str
    class_name: str
    created_at: datetime.datetime
    files: Mapping[str, Mapping[str, Any]]
    artifacts: Mapping[str, Mapping[str, Any]]
    written_by: str | None = None

    @cached_property
    def digest(self) -> str:
        """What identifies the bundle. BentoML's manifests have none: there it is computed, by reading all files once."""
        if self.written_by is None:
            return str(self.content[DIGEST_KEY])
        return manifest_digest({**self.content, "files": {path: dict(entry) for path, entry in self.files.items()}})

    @property
    def tag(self) -> str:
        """``name:version``."""
        return f"{self.service_name}:{self.service_version}"


def manifest_text(content: Mapping[str, Any]) -> str:
    """The text of bentoml.yml for ``content``, which gets its digest here.

    Raises:
        UsageError: a value in it has no form in YAML.
    """
    try:
        plain = yaml.safe_load(_dump(_unshared(content)))  # as a reader will see it
        return _dump({**plain, DIGEST_KEY: manifest_digest(plain)})
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise UsageError(f"the bundle's {MANIFEST} cannot hold what the service declares: {_line(error)}") from error


def read_manifest(root: Path) -> Manifest:
    """The manifest of the bundle ``root``, which agrees with its own digest. Nothing else of the bundle is read.

    Raises:
        NoInputError: there is no such folder, or no bentoml.yml in it.
        BundleError: it cannot be read, was changed after the bundle was saved, or is of another format.
    """
    if not is_bundle(root):
        what = "the folder has no" if root.is_dir() else "there is no such folder, so no"
        raise NoInputError(f"no bundle at {str(root)!r}: {what} {MANIFEST}; give the folder that save_to_dir returned")
    with open_member(root, MANIFEST) as stream:
        data = stream.read(_MAX_BYTES + 1)
    return _legacy(data, root) or parse_manifest(data, str(root))


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in the bytes of a bentoml.yml; ``where`` names the bundle in messages.

    Raises: BundleError, as ``read_manifest``.
    """
    content = _yaml(data, where)
    version = content.get("format_version")
    if version is None:
        raise BundleError(
            f"bundle {where}: its {MANIFEST} has no format_version, so it was not saved by bentobatch "
            f"(version says {str(content.get('version'))[:40]!r}); save the service again with bentobatch, or, where "
            "BentoML wrote it, give its folder or an archive of it"
        )
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= FORMAT_VERSION:
        raise BundleError(
            f"bundle {where}: format {str(version)[:40]!r} is unknown to this bentobatch, which reads up to "
            f"{FORMAT_VERSION}; install the bentobatch of its requirements.txt"
        )
    found = content.get(DIGEST_KEY)
    if found != manifest_digest(content):
        raise BundleError(
            f"bundle {where}: the file {MANIFEST} was changed after the bundle was saved; save or copy the bundle again"
        )
    try:
        return _checked(content)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise BundleError(
            f"bundle {where}: its {MANIFEST} is not what bentobatch writes ({_line(error)}); save the bundle again"
        ) from error


def _yaml(data: bytes, where: str) -> dict[str, Any]:
    """The YAML document as plain values: no aliases, which could unfold without end, and no tags of Python's."""
    try:
        if len(data) > _MAX_BYTES:
            raise BundleError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        text = data.decode("utf-8")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise BundleError("it has an alias (*), which bentobatch does not write")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise BundleError(f"it is nested deeper than {_MAX_DEPTH} levels")
        content = yaml.safe_load(text)
        if not isinstance(content, dict):
            raise BundleError("it is no mapping")
    except (BundleError, yaml.YAMLError, ValueError) as error:  # ValueError: bad UTF-8, a number or date out of range
        raise BundleError(
            f"bundle {where}: its {MANIFEST} cannot be read: {_line(error)}; save or copy the bundle again"
        ) from error
    return content


class _FilesBelow(Mapping[str, Mapping[str, Any]]):
    """The files of a bundle whose manifest lists none, each hashed when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._entries: dict[str, Mapping[str, Any]] = {}

    @cached_property
    def _paths(self) -> dict[str, None]:
        return dict.fromkeys(path for path in files_below(self._root) if not _is_left_out(path))

    def __getitem__(self, path: str) -> Mapping[str, Any]:
        if path not in self._entries:
            if path not in self._paths:
                raise KeyError(path)
            self._entries[path] = member_entry(self._root, path)
        return self._entries[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _is_left_out(path: str) -> bool:
    """What is no part of a bundle's content: its manifest, which is digested as such, and what tools leave behind."""
    *folders, name = path.split("/")
    return path in (MANIFEST, SIGNATURES) or "__pycache__" in folders or name == ".DS_Store"


def _legacy(data: bytes, root: Path) -> Manifest | None:
    """The manifest of a bundle that BentoML wrote; None where it is no such one."""
    if _OURS.search(data) or len(data) > _MAX_BYTES:
        return None
    try:
        content = read_yaml(data.decode("utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise BundleError(
            f"bundle {root}: its {MANIFEST} cannot be read: {_line(error)}; save or copy the bundle again"
        ) from error
    if not isinstance(content, dict) or not is_legacy(content):
        return None
    try:
        found = describe(content)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise BundleError(
            f"bundle {root}: its {MANIFEST} is not what BentoML {content['version']} wrote ({_line(error)}); copy the "
            "bundle again"
        ) from error
    return Manifest(content=content, files=_FilesBelow(root), **vars(found))


def _checked(content: dict[str, Any]) -> Manifest:
    metadata = content["metadata"]
    for key in ("module_name", "class_name"):
        if not isinstance(metadata[key], str) or not _DOTTED_NAME.fullmatch(metadata[key]):
            raise ValueError(f"{key} is {metadata[key]!r}")
    if not isinstance(metadata["created_at"], datetime.datetime):
        raise TypeError(f"created_at is {metadata['created_at']!r}")
    files = content["files"]
    for path, entry in files.items():
        size = entry["size"]
        if not isinstance(path, str) or isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ValueError(f"the entry of file {path!r} is malformed")
        if not _SHA256.fullmatch(entry["sha256"]):
            raise ValueError(f"the sha256 of file {path!r} is malformed")
    artifacts = {artifact["name"]: artifact.get("metadata") or {} for artifact in content.get("artifacts") or []}
    return Manifest(
        content=content,
        service_name=check_service_name(metadata["service_name"]),
        service_version=check_version(metadata["service_version"]),
        module_name=metadata["module_name"],
        class_name=metadata["class_name"],
        created_at=metadata["created_at"],
        files=files,
        artifacts=artifacts,
    )


def _dump(content: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)
    return text


def _unshared(value: Any) -> Any:
    """A copy in which no object occurs twice: YAML would write an alias for it."""
    if isinstance(value, Mapping):
        return {_unshared(key): _unshared(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unshared(item) for item in value]
    return value.replace() if isinstance(value, datetime.date) else value


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = f"the key {text} is missing" if isinstance(error, KeyError) else text
    return text if len(text) <= 300 else text[:299] + "…"
