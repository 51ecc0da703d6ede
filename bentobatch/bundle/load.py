"""This module loads a service from a bundle: verified first, then imported under private names, then its models.

Nothing is written into the bundle, and nothing of it runs before every file that its manifest lists was hashed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import platform
import threading
import traceback
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bentobatch.bundle import layout
from bentobatch.bundle.digest import verify_file
from bentobatch.bundle.imports import BundleCode, bundle_of, install, plain_name
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.bundle.policy import check_policy
from bentobatch.devices import asked_device
from bentobatch.errors import BentobatchError, BundleError, MissingDependencyError, UsageError
from bentobatch.frameworks.hosted_models import ModelHost, model_host
from bentobatch.frameworks.unpickle import class_resolver, function_builtins, pickles_refused
from bentobatch.legacy.advice import explain
from bentobatch.legacy.loading import make_service
from bentobatch.legacy.provided import ProvidedModules
from bentobatch.service.core import ServiceCore, service_name

_log = logging.getLogger("bentobatch.bundle")

_ORIGIN = "_bentobatch_origin"


@dataclass(frozen=True)
class Origin:
    """The bundle that a service was loaded from, so that it can be loaded again in another process."""

    path: str
    digest: str
    allow_pickle: bool = True


def load(
    path: str | os.PathLike[str],
    *,
    digest: str | None = None,
    allow_pickle: bool = True,
    model_python: str | None = None,
) -> Any:
    """The service in the bundle at ``path``, with its models, ready to be called. Runs the bundle's code.

    ``digest``: the content digest that the bundle must have (64 hexadecimal digits; "sha256:" before them is taken
    too). ``allow_pickle=False`` refuses models that are stored as pickles. ``model_python``: the interpreter of an older
    Python, in a process of which pickled models are held, instead of here.

    Raises:
        NoInputError: there is no bundle.
        PolicyError: the policy of this machine does not let it run.
        BundleError: it was changed after it was saved, is not the one of ``digest``, or its code fails.
        MissingDependencyError: its code needs a library that is not installed.
    """
    root = _root(path)
    manifest = read_manifest(root)
    code = _verified_code(root, manifest, digest)
    cls = _service_class(code, manifest)
    if code.provided is not None:
        cls._bento_service_bundle_path = str(root)  # type: ignore[attr-defined]  # BentoML's, where services found files
    with _names_of(code, manifest, allow_pickle=allow_pickle), _hosting(model_python):
        service = make_service(cls, lambda made: _load_artifacts(made, root, manifest, code))
    state = vars(service)
    state["_version"] = manifest.service_version  # set_version would put @ver's numbers before it once more
    web_content = root / manifest.service_name / layout.WEB_STATIC_CONTENT
    if cls._web_static_content is not None:
        state["_web_static_content"] = str(web_content)
    state["_device"] = asked_device()  # for the tensors that its apis get
    state[_ORIGIN] = Origin(str(root), manifest.digest, allow_pickle)
    return service


@contextlib.contextmanager
def _hosting(python: str | None) -> Iterator[None]:
    """Have pickled models loaded in a process of ``python``."""
    token = model_host.set(None if python is None else ModelHost(python))
    try:
        yield
    finally:
        model_host.reset(token)


def load_class(path: str | os.PathLike[str], digest: str, module: str, name: str) -> Any:
    """The class of the qualified ``name`` in the bundle's ``module`` (its plain name there), without any model."""
    root = _root(path)
    manifest = read_manifest(root)
    code = _verified_code(root, manifest, digest)
    with _names_of(code, manifest):
        return code.resolve(module, name)


def load_again(path: str, digest: str, allow_pickle: bool = True) -> Any:
    """What a pickled service names, to be loaded from its bundle where the pickle is read."""
    return load(path, digest=digest, allow_pickle=allow_pickle)


def origin_of_service(service: ServiceCore) -> Origin | None:
    """The bundle that the service was loaded from, None when it was not, or was changed since by ``pack``."""
    origin: Origin | None = vars(service).get(_ORIGIN)
    return origin


def forget_origin(service: ServiceCore) -> None:
    """The service is no longer what its bundle holds."""
    vars(service).pop(_ORIGIN, None)


def reduced_class(cls: type) -> str | tuple[Any, ...]:
    """How to pickle a class: one of a bundle by the bundle's path and digest, any other by its name as usual."""
    code = bundle_of(cls.__module__)
    if code is None:
        return cls.__qualname__
    return load_class, (str(code.root.parent), code.digest, plain_name(cls.__module__), cls.__qualname__)


def _root(path: str | os.PathLike[str]) -> Path:
    text = os.fspath(path)
    if "://" in text:
        raise UsageError(f"{text!r} is a URL: bentobatch.load fetches it, this takes a folder")
    return Path(os.path.realpath(text))


def _verified_code(root: Path, manifest: Manifest, digest: str | None) -> BundleCode:
    """The bundle's code, after all its files were checked; that of an earlier load of the same digest is used again."""
    wanted = manifest.digest if digest is None else digest.removeprefix("sha256:").lower()
    if wanted != manifest.digest:
        raise BundleError(
            f"bundle {root}: its digest is {manifest.digest}, not {wanted} as asked for: it was saved anew, or replaced"
        )
    check_policy(root, manifest)
    prefix = f"{manifest.service_name}/"
    data = tuple(f"{prefix}{folder}/" for folder in layout.RESERVED_FOLDERS)
    files: dict[str, bytes | None] = {}
    for path, entry in manifest.files.items():
        is_code = path.startswith(prefix) and not path.startswith(data)
        keep = is_code and (path.endswith(".py") or path.startswith(f"{prefix}{layout.ZIP_IMPORTS}/"))
        fresh = manifest.written_by is not None  # the entry was made from the file just now
        content = None if fresh and not keep else verify_file(root, path, entry, keep=keep)
        if is_code:
            files[path.removeprefix(prefix)] = content
    with _lock:
        code = _codes.get(manifest.digest)
        if code is None or (code.root.parent != root and not layout.is_bundle(code.root.parent)):
            code = _codes[manifest.digest] = BundleCode(
                manifest.digest,
                root / manifest.service_name,
                files,
                zipped=_zipped(files),
                provided=_provided(manifest),
            )
            install(code)
    return code


def _service_class(code: BundleCode, manifest: Manifest) -> type[ServiceCore]:
    with _names_of(code, manifest):
        if manifest.written_by is None:
            found = code.resolve(manifest.module_name, manifest.class_name)
        elif manifest.module_name not in code.modules:
            raise BundleError(
                f"bundle {code.root.parent}: the file of its service, {manifest.module_name.replace('.', '/')}.py in "
                f"{manifest.service_name}/, is missing; copy the bundle again"
            )
        else:
            found = _named_class(code.module(manifest.module_name), manifest.class_name)
    if not isinstance(found, type) or not issubclass(found, ServiceCore):
        raise BundleError(
            f"bundle {code.root.parent}: its manifest names {manifest.class_name!r} in {manifest.module_name!r}, which "
            "is no service class; save the bundle again"
        )
    return found


def _named_class(module: ModuleType, name: str) -> Any:
    """The class of BentoML's bundle: the module's attribute of the service's name, or the one class whose service has it
    (``_bento_service_name``), which BentoML saved and could not find again."""
    found = getattr(module, name, None)
    if isinstance(found, type) and issubclass(found, ServiceCore):
        return found
    classes = {value for value in vars(module).values() if isinstance(value, type) and issubclass(value, ServiceCore)}
    return next((cls for cls in classes if cls.__module__ == module.__name__ and service_name(cls) == name), found)


def _load_artifacts(service: ServiceCore, root: Path, manifest: Manifest, code: BundleCode) -> None:
    folder = root / manifest.service_name / layout.ARTIFACTS
    if code.provided is None:
        service.load_artifacts(folder, manifest.artifacts)
        return
    for name, artifact in service.artifacts.items():
        try:
            artifact.load(folder, metadata=manifest.artifacts.get(name))
        except BentobatchError as error:
            raise explain(
                error,
                artifact,
                folder,
                requirements=_requirements(root, manifest),
                python_version=python_of(manifest),
                own_modules=code.names,
            ) from error


def _requirements(root: Path, manifest: Manifest) -> list[str]:
    data = b""
    if layout.REQUIREMENTS in manifest.files:
        with layout.open_member(root, layout.REQUIREMENTS) as file:
            data = file.read(1 << 20)
    listed = (manifest.content.get("env") or {}).get("pip_packages") or []
    return [*data.decode("utf-8", "replace").splitlines(), *map(str, listed)]


def python_of(manifest: Manifest) -> str:
    """The version of the Python that saved the bundle, as far as it says."""
    return str((manifest.content.get("env") or {}).get("python_version"))


def _provided(manifest: Manifest) -> ProvidedModules | None:
    """BentoML's names, for a bundle that it wrote, or whose manifest says that its code needs them."""
    declared = manifest.content.get(layout.COMPATIBILITY)
    if manifest.written_by is not None:
        return ProvidedModules(manifest.written_by, python_of(manifest))
    if isinstance(declared, dict):
        return ProvidedModules(str(declared.get("bentoml")), str(declared.get("python_version")))
    return None


def _zipped(files: Mapping[str, bytes | None]) -> dict[str, dict[str, bytes | None]]:
    """The modules in the archives of ``zipimports``, which BentoML has on its search path before the bundle itself."""
    found: dict[str, dict[str, bytes | None]] = {}
    for path in sorted(files):
        data = files[path]
        if path.startswith(f"{layout.ZIP_IMPORTS}/") and path.endswith(".zip") and data is not None:
            try:
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    found[path] = {
                        info.filename: archive.read(info)
                        for info in archive.infolist()
                        if info.filename.endswith(".py") and layout.path_fault(info.filename) is None
                    }
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, zlib.error) as error:
                raise BundleError(
                    f"the archive {path} of the bundle cannot be read ({error}); save it again"
                ) from error
    return found


@contextlib.contextmanager
def _names_of(code: BundleCode, manifest: Manifest, *, allow_pickle: bool = True) -> Iterator[None]:
    """Inside, pickles see the bundle's own names; what its code raises leaves as an error that names the bundle."""
    resolver = class_resolver.set(code.resolve)
    builtins = function_builtins.set(code.builtins)
    refused = pickles_refused.set(not allow_pickle)
    try:
        yield
    except (BentobatchError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise _load_error(error, code, manifest) from error
    finally:
        class_resolver.reset(resolver)
        function_builtins.reset(builtins)
        pickles_refused.reset(refused)


def _load_error(error: BaseException, code: BundleCode, manifest: Manifest) -> BentobatchError:
    """What the bundle's code raised, in one line: where in the bundle, what, and what may help."""
    root = code.root.parent
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(f"{code.root}/")]
    place = f" at {os.path.relpath(own[-1].filename, root)} line {own[-1].lineno}" if own else ""
    requirements = root / layout.REQUIREMENTS
    if isinstance(error, ModuleNotFoundError) and error.name and code.private(error.name) is None:
        return MissingDependencyError(
            f"bundle {root}: its code{place} needs the module {error.name}, which is not installed: "
            f"pip install -r {requirements}"
        )
    text = " ".join(f"{type(error).__name__}: {error}".split())
    saved_on, here = str((manifest.content.get("env") or {}).get("python_version")), platform.python_version()
    other = (
        "" if saved_on.split(".")[:2] == here.split(".")[:2] else f"; it was saved on Python {saved_on}, this is {here}"
    )
    return BundleError(
        f"bundle {root}: its code fails while it is loaded{place} ({text}){other}; correct it and save the service "
        f"again, or install what {requirements} lists"
    )


_codes: dict[str, BundleCode] = {}
_lock = threading.Lock()
