"""This module saves a packed service as a bundle's folder: whole or not at all.

It is written under another name beside the target, synced to the disk, and renamed into place.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from bentobatch import __version__
from bentobatch.bundle import layout
from bentobatch.bundle.constraints import constraints
from bentobatch.bundle.digest import file_entry, verify_file
from bentobatch.bundle.docs import openapi, readme
from bentobatch.bundle.image import write_image_files
from bentobatch.bundle.imports import PREFIX, BundleCode, bundle_of, plain_name
from bentobatch.bundle.local_code import LocalCode, check_module, find_local_code
from bentobatch.bundle.manifest import FORMAT_VERSION, KIND, manifest_text, read_manifest
from bentobatch.bundle.own_wheel import is_own_requirement, own_requirement, own_wheel
from bentobatch.bundle.package import write_package
from bentobatch.bundle.requirements import inferred_requirements
from bentobatch.bundle.staging import refuse_existing, staged
from bentobatch.bundle.zip_imports import archives_of
from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.metadata import plain
from bentobatch.frameworks.pickle_names import references_in
from bentobatch.labels import check_labels
from bentobatch.legacy.rewrite import mentions
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.core import ServiceCore, module_of


def save_bundle(service: ServiceCore, path: str | os.PathLike[str], *, labels: Mapping[str, str] | None = None) -> Path:
    """Save ``service``, which is packed and has a version, as the folder ``path``; returns the folder.

    Missing parents are made; an empty folder may stand there already.

    Raises:
        UsageError: the service cannot be saved as it is (a model is missing, its class is in __main__, a local package
            holds a link to elsewhere…); nothing was left behind.
        OutputError: the folder exists and is not empty, or cannot be written.
    """
    target = local_path(path)
    _check_service(service)
    kept = check_labels(labels or {})
    refuse_existing(target)
    with staged(target) as folder:
        _write(service, folder, kept)
    return target


def local_path(path: str | os.PathLike[str]) -> Path:
    """``path`` as an absolute local path.

    Raises:
        UsageError: it is a URL.
    """
    text = os.fspath(path)
    if "://" in text:
        raise UsageError(f"{text!r} is a URL; a bundle is saved into a local folder, which you may then copy there")
    if not text or "\0" in text:
        raise UsageError(f"{text!r} is no path: give the folder that the bundle is to be")
    return Path(os.path.abspath(text))


def _check_service(service: ServiceCore) -> None:
    missing = service.not_packed()
    if missing:
        calls = ", ".join(f"pack({name!r}, model)" for name in missing)
        raise UsageError(
            f"{service.name} cannot be saved yet: no model is packed in {', '.join(missing)}; call {calls}"
        )
    cls = type(service)
    if bundle_of(cls.__module__) is None:
        check_module(cls.__module__)
        module_of(cls)


def _write(service: ServiceCore, folder: Path, labels: dict[str, str]) -> None:
    code_folder = folder / service.name
    artifacts_folder = code_folder / layout.ARTIFACTS
    artifacts_folder.mkdir(parents=True)
    named = _write_artifacts(service, artifacts_folder)
    home = bundle_of(type(service).__module__)
    archives = {} if home is not None else archives_of(service.env, _folders(service))
    code = find_local_code(type(service).__module__, named_by_models=named, archives=archives)
    for path, source in code.files.items():
        _copy(source, code_folder / path)
    _write_web_content(service, code_folder / layout.WEB_STATIC_CONTENT)
    env = _write_environment(service, folder, code, named)
    (folder / layout.API_DOCS).write_text(
        json.dumps(openapi(service.name, str(service.version), service.inference_apis), indent=2) + "\n", "utf-8"
    )
    manifest = _describe(service, env) | ({"labels": labels} if labels else {}) | _compatibility(service, named)
    (folder / layout.README).write_text(readme(manifest), "utf-8", errors="replace")
    write_image_files(folder, service.name, str(service.version), env)
    write_package(folder, service.name, str(service.version), str(env["bentobatch"]))
    manifest["files"] = {path: file_entry(folder / path) for path in _written(folder)}
    (folder / layout.MANIFEST).write_text(manifest_text(manifest), "utf-8")


def _write_artifacts(service: ServiceCore, folder: Path) -> set[str]:
    """Write every model; returns the dotted names of the modules that their pickles refer to."""
    named: set[str] = set()
    home = bundle_of(type(service).__module__)
    for artifact in service.artifacts.values():
        before = set(layout.files_below(folder))
        artifact.save_model(folder)
        written = sorted(set(layout.files_below(folder)) - before)
        if artifact.uses_pickle:
            named |= _modules_in_pickles([folder / path for path in written], artifact, home)
    return named


def _modules_in_pickles(files: list[Path], artifact: BentoServiceArtifact, home: BundleCode | None) -> set[str]:
    named: set[str] = set()
    for file in files:
        try:
            with file.open("rb") as stream:
                named |= {module for module, _ in references_in(stream, str(file))}
        except BundleError:  # an artifact may write other files beside its pickle
            continue
    for module in sorted(named):
        owner = f"the model of {artifact.owner} refers to the module {plain_name(module)!r}"
        if module == "__main__":
            raise UsageError(f"{owner}, which another process cannot import: put what it defines into a module")
        if module.startswith(PREFIX) and (home is None or not module.startswith(f"{home.package}.")):
            raise UsageError(
                f"{owner} of another bundle, whose code this service does not have: make the model again with this "
                "service's own code, or save the service that it was loaded with"
            )
    return named


def _write_web_content(service: ServiceCore, target: Path) -> None:
    if service._web_static_content is None:
        return
    source = Path(service._web_static_content).expanduser()
    if not source.is_dir():
        raise UsageError(f"@web_static_content names {str(source)!r}, which is no folder here: correct the path")
    for path in layout.files_to_copy(source, "the folder of @web_static_content"):
        _copy(source / path, target / layout.checked_new_path(path, source=source / path))


def _write_environment(service: ServiceCore, folder: Path, code: LocalCode, named: set[str]) -> dict[str, Any]:
    """Write requirements.txt, environment.yml, python_version, setup.sh and a wheel of bentobatch where it is on no index;
    returns the manifest's ``env``."""
    home = bundle_of(type(service).__module__)
    if home is not None:  # the files that @env names are not here; what they made is in the bundle
        return _copy_environment(home.root.parent, folder)
    env, folders = service.env, _folders(service)
    needed = [package for artifact in service.artifacts.values() for package in artifact.pip_packages]
    needed += [package for api in service.inference_apis for package in api.input.pip_packages]
    wheel = own_wheel()
    inferred = inferred_requirements(
        needed=needed, imported={*code.foreign, *named} if env.infer_pip_packages else (), own=own_requirement(wheel)
    )
    lines = env.requirements_lines(inferred, folders=folders)
    if wheel is not None:
        (folder / layout.BUNDLED).mkdir()
        (folder / wheel.path).write_bytes(wheel.data)
        # a file of the user's is taken as it stands; who installs it adds env["bentobatch"]
        lines = lines if env.requirements_txt_file is not None else [f"--find-links {layout.BUNDLED}", *lines]
    python = platform.python_version()
    conda = env.conda_environment(f"bentobatch-{service.name}", python, folders=folders)
    script = env.setup_script(folders=folders)
    text = "".join(f"{line}\n" for line in lines)
    (folder / layout.REQUIREMENTS).write_text(text, "utf-8")
    (folder / layout.CONSTRAINTS).write_text("".join(f"{line}\n" for line in constraints(lines)), "utf-8")
    (folder / layout.CONDA_ENVIRONMENT).write_text(yaml.safe_dump(conda, sort_keys=False), "utf-8")
    (folder / layout.PYTHON_VERSION).write_text(python, "utf-8")
    described: dict[str, Any] = (
        {"pip_packages": [line for line in lines if not line.startswith("-")]}
        if env.requirements_txt_file is None
        else {"requirements_txt": text}
    )
    described |= {"bentobatch": own_requirement(wheel), "conda_env": conda, "python_version": python}
    if env.docker_base_image is not None:
        described["docker_base_image"] = env.docker_base_image
    if script is not None:
        (folder / layout.SETUP_SCRIPT).write_text(script, "utf-8")
        described["setup_sh"] = script
    return described


def _folders(service: ServiceCore) -> list[Path]:
    """Where the paths that ``@env`` names are looked for."""
    return [Path.cwd(), Path(str(module_of(type(service)).__file__)).resolve().parent]


def _copy_environment(origin: Path, folder: Path) -> dict[str, Any]:
    manifest = read_manifest(origin)
    names = (
        layout.REQUIREMENTS,
        layout.CONSTRAINTS,
        layout.CONDA_ENVIRONMENT,
        layout.PYTHON_VERSION,
        layout.SETUP_SCRIPT,
    )
    for name, entry in manifest.files.items():
        if name in names or name.startswith(f"{layout.BUNDLED}/"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(verify_file(origin, name, entry, keep=True) or b"")
    for name in (layout.REQUIREMENTS, layout.CONSTRAINTS):  # BentoML's bundles may lack them
        (folder / name).touch()
    env = dict(manifest.content["env"])
    if not (folder / layout.PYTHON_VERSION).exists():
        (folder / layout.PYTHON_VERSION).write_text(str(env.get("python_version")), "utf-8")
    # one that was saved before bundles carried wheels has none
    return env if is_own_requirement(env.get("bentobatch")) else {**env, "bentobatch": own_requirement(None)}


def _describe(service: ServiceCore, env: dict[str, Any]) -> dict[str, Any]:
    """The manifest without its files and digest."""
    cls = type(service)
    module = plain_name(cls.__module__)
    package = getattr(module_of(cls), "__path__", None) is not None
    return {
        "version": __version__,
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "bentobatch_version": __version__,
        "metadata": {
            "created_at": datetime.now(timezone.utc).replace(tzinfo=None),
            "service_name": service.name,
            "service_version": service.version,
            "module_name": module,
            "module_file": module.replace(".", "/") + ("/__init__.py" if package else ".py"),
            "class_name": cls.__qualname__,
        },
        "env": env,
        "apis": [_describe_api(api) for api in service.inference_apis],
        "artifacts": [_describe_artifact(artifact) for artifact in service.artifacts.values()],
    }


def _describe_api(api: InferenceAPI) -> dict[str, Any]:
    """The api's own description, and the columns and types that its input adapter declares, as ``input_schema``."""
    types = api.input.types
    columns = api.input.columns if api.input.columns is not None else tuple(types)
    schema = {column: str(types[column]) if column in types else None for column in columns}
    return {**api.describe(), "input_schema": schema or None}


def _compatibility(service: ServiceCore, named: set[str]) -> dict[str, Any]:
    """The manifest's note that the code needs BentoML's names, as that of a bundle does which BentoML wrote."""
    home = bundle_of(type(service).__module__)
    if home is None or home.provided is None:
        return {}
    needed = home.provided.top in {name.partition(".")[0] for name in named}
    needed = needed or any(mentions(own.data) for name, own in home.modules.items() if name)
    return {layout.COMPATIBILITY: home.provided.declared()} if needed else {}


def _describe_artifact(artifact: BentoServiceArtifact) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": artifact.name,
        "artifact_type": type(artifact).__name__,
        "config": artifact.config(),
        "metadata": plain(artifact.metadata),
    }
    names, classes = artifact.feature_names(), artifact.classes()
    if names is not None:
        described["feature_names"] = [str(name) for name in names]
    if artifact.feature_count() is not None:
        described["feature_count"] = artifact.feature_count()
    if classes is not None and all(isinstance(label, (str, bool, int, float)) for label in classes):
        described["classes"] = list(classes)
    return described


def _written(folder: Path) -> Iterator[str]:
    """Every file of the new bundle; the manifest is not written yet.

    Raises:
        UsageError: a custom artifact wrote a link or something else that is no regular file.
    """
    for path in layout.files_below(folder):
        file = folder / path
        if file.is_symlink() or not file.is_file():
            raise UsageError(f"an artifact wrote {path!r}, which is no regular file: a bundle holds files only")
        yield layout.checked_new_path(path, source=path)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
