"""This module rewrites a bundle that BentoML wrote as one of ours: the same models, file by file, the same code and version.

Code says ``import bentobatch`` afterwards where that surely means the same (legacy/rewrite.py); else it stays as it is, and
the manifest says that BentoML's names have to be provided for it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bentobatch.bundle import layout
from bentobatch.bundle.digest import verify_file
from bentobatch.bundle.load import load
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.bundle.own_wheel import OwnWheel, own_requirement, own_wheel
from bentobatch.bundle.save import local_path, save_bundle
from bentobatch.errors import BentobatchError, BundleError, OutputError, UsageError
from bentobatch.legacy.provided import TOP
from bentobatch.legacy.rewrite import rewritten
from bentobatch.service.environment import distribution_of
from bentobatch.tags import check_version

_BASE_IMAGE = re.compile(r"bentoml/model-server:.*")


@dataclass(frozen=True)
class Migration:
    """What became of a bundle. ``kept``: why its code still says ``import bentoml``, None where it does not."""

    folder: str
    tag: str
    digest: str
    kept: str | None


def migrate(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> Migration:
    """Rewrite the bundle in the folder ``old`` as the folder ``new``, which must not exist. Runs the bundle's code, to
    load it before and after.

    Raises:
        UsageError: ``old`` is a bundle of ours already, or has a version that ours cannot have.
        OutputError: something stands at ``new``, or it cannot be written.
        BundleError, MissingDependencyError: it cannot be loaded; see ``load``.
    """
    root, target = Path(os.path.realpath(old)), local_path(new)
    manifest = read_manifest(root)
    if manifest.written_by is None:
        raise UsageError(f"bundle {root}: bentobatch wrote it itself, so there is nothing to migrate")
    check_version(manifest.service_version)  # BentoML took "1.0.0+build", which no folder of ours is named
    if os.path.lexists(target):
        raise OutputError(f"{str(target)!r} exists already: migrate to another folder, or remove that one first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bentobatch-", dir=target.parent) as folder:
            kept = _migrated(root, manifest, Path(folder), target)
    except OSError as error:
        raise OutputError(f"cannot write {str(target)!r}: {error}; check the place, and try again") from error
    try:
        made = load(target)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return Migration(str(target), made.tag, read_manifest(target).digest, kept)


def _migrated(root: Path, manifest: Manifest, work: Path, target: Path) -> str | None:
    """Save from copies in ``work``: with new code first, with the old code where that does not load."""
    sources = _sources(root, manifest)
    changed = rewritten(sources)
    if not isinstance(changed, str):
        _copy_bundle(root, manifest, work / "rewritten", changed)
        try:
            service = load(work / "rewritten")
        except (BundleError, UsageError) as error:
            changed = f"rewritten, it does not load ({error})".replace(str(work / "rewritten"), str(root))
        else:
            _save(service, work / "rewritten", manifest, target)
            return None
    _copy_bundle(root, manifest, work / "kept", {})
    try:
        service = load(work / "kept")
    except BentobatchError as error:
        raise type(error)(str(error).replace(str(work / "kept"), str(root))) from error
    _save(service, work / "kept", manifest, target)
    return changed


def _sources(root: Path, manifest: Manifest) -> dict[str, bytes]:
    """The code of the bundle, by path; that of zip archives cannot be rewritten, and is looked at all the same."""
    prefix = f"{manifest.service_name}/"
    data = tuple(f"{prefix}{folder}/" for folder in layout.RESERVED_FOLDERS)
    return {
        path: verify_file(root, path, entry, keep=True) or b""
        for path, entry in manifest.files.items()
        if path.endswith(".py") and path.startswith(prefix) and not path.startswith(data) and not _is_wrapper(path)
    }


def _is_wrapper(path: str) -> bool:
    """Whether a file of the code folder is BentoML's own: the package's __init__, which starts its command line, and the
    copy of the manifest."""
    return path.count("/") == 1 and path.endswith(("/__init__.py", f"/{layout.MANIFEST}"))


def _copy_bundle(root: Path, manifest: Manifest, folder: Path, changed: Mapping[str, bytes]) -> None:
    """Copy the bundle, its code ``changed``, and ``bentoml`` among its requirements replaced."""
    for path, entry in manifest.files.items():
        if _is_wrapper(path) and path.startswith(f"{manifest.service_name}/"):
            continue
        if path.startswith(f"{layout.BUNDLED}/"):  # BentoML's own archive
            continue
        verify_file(root, path, entry)
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if path in changed:
            place.write_bytes(changed[path])
        else:
            _link_or_copy(root / path, place)
    requirements = folder / layout.REQUIREMENTS
    lines = requirements.read_text("utf-8", errors="replace").splitlines() if requirements.exists() else []
    wheel = own_wheel()
    if wheel is not None:
        (folder / layout.BUNDLED).mkdir()
        (folder / wheel.path).write_bytes(wheel.data)
    _replace(requirements, "".join(f"{line}\n" for line in _required(lines, wheel)).encode())
    content = {**manifest.content, "env": _environment(manifest.content.get("env") or {}, wheel)}
    (folder / layout.MANIFEST).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes, where the disk lets us; nothing writes into files of the copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target)


def _replace(file: Path, data: bytes) -> None:
    file.unlink(missing_ok=True)  # it may be the old bundle's own, by a link
    file.write_bytes(data)


def _required(lines: list[str], wheel: OwnWheel | None) -> list[str]:
    """The lines of requirements.txt with bentobatch in the place of bentoml."""
    ours = own_requirement(wheel)
    made = [ours if distribution_of(line) == TOP else line for line in lines]
    made = made if ours in made else [*made, ours]
    return made if wheel is None else [f"--find-links {layout.BUNDLED}", *made]


def _environment(env: Mapping[str, Any], wheel: OwnWheel | None) -> dict[str, Any]:
    made = {**env, "bentobatch": own_requirement(wheel)}
    if "pip_packages" in made:
        listed = _required([str(line) for line in made["pip_packages"] or []], wheel)
        made["pip_packages"] = [line for line in listed if not line.startswith("-")]
    if isinstance(made.get("requirements_txt"), str):
        lines = _required(made["requirements_txt"].splitlines(), wheel)
        made["requirements_txt"] = "".join(f"{line}\n" for line in lines)
    if _BASE_IMAGE.fullmatch(str(made.get("docker_base_image"))):
        del made["docker_base_image"]  # it has BentoML in it and no bentobatch
    if isinstance(made.get("setup_sh"), bytes):
        made["setup_sh"] = made["setup_sh"].decode("utf-8", errors="replace")
    return made


def _save(service: Any, folder: Path, manifest: Manifest, target: Path) -> None:
    """Save ``service``, loaded from ``folder``, with the files of its models as they are there."""
    models = folder / manifest.service_name / layout.ARTIFACTS
    for index, artifact in enumerate(service.artifacts.values()):
        # whose file is whose only the artifacts know: the first one brings all of them
        vars(artifact)["save_model"] = partial(_copy_models, models) if index == 0 else _copy_nothing
    save_bundle(service, target)


def _copy_models(source: Path, folder: Path) -> None:
    for path in layout.files_below(source):
        if path != "__init__.py":
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, folder / path)


def _copy_nothing(_folder: Path) -> None: ...
