"""This module is BentoService, the class that users derive their services from, and load, which brings one back."""

from __future__ import annotations

import copyreg
import os
from collections.abc import Mapping, Sequence
from typing import Any

from bentobatch.bundle.load import forget_origin, load_again, origin_of_service, reduced_class
from bentobatch.bundle.load import load as load_folder
from bentobatch.bundle.save import save_bundle
from bentobatch.repository.local import LocalRepository, is_home, open_repository, resolve
from bentobatch.service.core import ServiceCore
from bentobatch.tags import Tag


def load(
    bundle: str | os.PathLike[str],
    *,
    digest: str | None = None,
    allow_pickle: bool = True,
    trust: bool = False,
    repository_url: str | None = None,
    trust_types: Sequence[str] = (),
) -> Any:
    """The service in a bundle, with its models, ready to be called. Runs the bundle's code.

    ``bundle``: its folder, an archive of it, a URL (``URL@sha256:DIGEST``, or with ``trust``), or a tag of the
    repository, NAME:VERSION or NAME:latest. ``repository_url``: which one, by default that of the settings. ``digest``: the
    content digest that it must have. ``allow_pickle=False`` refuses models that are stored as pickles. A model file will do
    as well, .onnx or .skops (``trust_types`` names types that the latter may make), or the folder of an MLflow model.

    Raises:
        NoInputError: there is no such bundle.
        UsageError: ``bundle`` is neither a path nor a tag, or a URL without a pinned digest and without ``trust``.
        PolicyError: the policy of this machine does not let it run.
        BundleError: it was changed after it was saved, is not the one of ``digest``, or its code fails.
        MissingDependencyError: its code needs a library that is not installed.
    """
    folder = resolve(os.fspath(bundle), trust=trust, repository_url=repository_url, trust_types=trust_types)
    return load_folder(folder, digest=digest, allow_pickle=allow_pickle)


class _ServiceClass(type):
    """The type of service classes. Its only work is to give pickle a type to know them by (see the module's end)."""


class BentoService(ServiceCore, metaclass=_ServiceClass):
    """A prediction service: derive from it, declare apis and artifacts, pack the models, save.

    A service that was loaded from a bundle pickles into other processes as that bundle's path and digest, and is
    loaded there again.
    """

    def save(
        self,
        version: str | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        repository_url: str | None = None,
    ) -> str:
        """Save into the local repository, as NAME/VERSION; returns the folder, which ``bentobatch.load`` takes.

        Without ``version`` the one of ``set_version`` is used, or a new one made for each saving. ``labels`` (text to
        text) are written into the bundle. It is then pushed to the repository at ``repository_url`` as well, by default
        the one that the settings name, if they name one.

        Raises:
            UsageError: a model is missing, or the service's class or project cannot be saved; says what to do.
            OutputError: this version of the name is saved already.
            UnavailableError, StorageError: it is saved here, and could not be pushed.
        """
        _settle_version(self, version)
        shared = open_repository(repository_url)
        place = LocalRepository().place(Tag(self.name, str(self.version)))
        saved = save_bundle(self, place, labels=labels)
        if not is_home(shared):
            shared.push(saved)
        return str(saved)

    def save_to_dir(self, path: str | os.PathLike[str], version: str | None = None) -> str:
        """Save as the folder ``path`` itself, which must be absent or empty; returns it as it was given.

        Raises: as ``save``.
        """
        _settle_version(self, version)
        save_bundle(self, path)
        return os.fspath(path)

    def pack(self, name: str, *args: Any, metadata: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Put a model into the artifact ``name``; further arguments go to the artifact's own ``pack``. Returns self.

        Raises:
            UsageError: no artifact of that name is declared, or it does not take this model.
            TypeError: metadata is no dict.
        """
        forget_origin(self)
        return super().pack(name, *args, metadata=metadata, **options)

    def start_dev_server(self, port: int = 5000, *, options: Sequence[str] = ()) -> str:
        """Serve this service in a child process on loopback, as it is now; returns the URL. Port 0 is one that is free.

        ``options``: further options of ``bentobatch serve``, such as ``["--access-log"]``. The server ends with
        ``stop_dev_server``, or with this process.

        Raises: as ``save_to_dir``, and
            UsageError: it is served already.
            UnavailableError: the server did not start; the message says why.
        """
        from bentobatch.serving.child import start_child  # here and not above: who saves bundles needs no server

        origin = origin_of_service(self)
        folder = None if origin is None else origin.path
        return start_child(self, self.save_to_dir, port, tuple(options), folder=folder)

    def stop_dev_server(self) -> None:
        """End the development server; nothing where there is none."""
        from bentobatch.serving.child import stop_child

        stop_child(self)

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        origin = origin_of_service(self)
        if origin is None:
            return super().__reduce_ex__(protocol)
        return load_again, (origin.path, origin.digest, origin.allow_pickle)


def _settle_version(service: BentoService, version: str | None) -> None:
    """Each saving without a version makes a new one, unless the user set one or the service was loaded with it."""
    state = vars(service)
    if version is not None:
        service.set_version(version)
    elif service.version is None or service.version == state.get("_made_version"):
        service.set_version()
        state["_made_version"] = service.version


# Service classes of a bundle are found by the bundle's path and digest; importing their private modules by name would
# fail in a process that did not load the bundle. Others are pickled by name, as any class.
copyreg.pickle(_ServiceClass, reduced_class)
