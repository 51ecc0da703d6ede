"""This module is a prediction service without disks: its name, version, apis, artifacts and environment."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from bentobatch.errors import UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.service.apis import InferenceAPI
from bentobatch.service.artifacts import ArtifactCollection
from bentobatch.service.declarations import API_ATTRIBUTE
from bentobatch.service.environment import Environment, environment_from
from bentobatch.tags import check_service_name, check_version

_Service = TypeVar("_Service", bound="ServiceCore")


class ServiceCore:
    """What BentoService is made of. The class attributes are set by the decorators, or by hand, as in BentoML 0.13.

    ``_bento_service_name`` names the service where that shall not be the name of the class. State is made when it is
    first asked for, so that a subclass with an ``__init__`` of its own need not call this one's.
    """

    _bento_service_name: ClassVar[str | None] = None
    _declared_artifacts: ClassVar[Sequence[BentoServiceArtifact]] = ()
    _env: ClassVar[Environment | None] = None
    _version_major: ClassVar[int | None] = None
    _version_minor: ClassVar[int | None] = None
    _web_static_content: ClassVar[str | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_bento_service_name" in vars(cls):
            check_service_name(vars(cls)["_bento_service_name"])
        declared_apis(cls)  # refuses two apis of one name or route where the class is written

    @property
    def name(self) -> str:
        """The service's name: ``_bento_service_name``, else the name of the class.

        Raises:
            UsageError: the class has a name that no folder and package may have.
        """
        return service_name(type(self))

    @property
    def version(self) -> str | None:
        """The version, once it is set by ``set_version`` or by saving or loading; before that None."""
        version: str | None = self.__dict__.get("_version")
        return version

    @property
    def tag(self) -> str:
        """``name:version``.

        Raises:
            UsageError: there is no version yet.
        """
        if self.version is None:
            raise UsageError(f"{self.name} has no version yet, so no tag: save it, or call set_version first")
        return f"{self.name}:{self.version}"

    def set_version(self, version: str | None = None) -> str:
        """Set the version, or a new one of ``versioneer``; with @ver it becomes ``major.minor.<version>``. Returns it.

        Raises:
            UsageError: the version is malformed or reserved.
        """
        patch = self.versioneer() if version is None else check_version(version)
        if self._version_major is not None and self._version_minor is not None:
            patch = f"{self._version_major}.{self._version_minor}.{patch}"
        self.__dict__["_version"] = check_version(patch)
        return patch

    def versioneer(self) -> str:
        """A new version, in the order of time: the second (UTC) and six hexadecimal digits. Override it for another."""
        return f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}_{secrets.token_hex(3).upper()}"

    @property
    def artifacts(self) -> ArtifactCollection:
        """The models of this instance: ``svc.artifacts.model``, ``svc.artifacts.get("model").metadata``."""
        if "_artifacts" not in self.__dict__:
            self.__dict__["_artifacts"] = ArtifactCollection(self._declared_artifacts)
        collection: ArtifactCollection = self.__dict__["_artifacts"]
        return collection

    def pack(
        self: _Service, name: str, *args: Any, metadata: Mapping[str, Any] | None = None, **options: Any
    ) -> _Service:
        """Put a model into the artifact ``name``; further arguments go to the artifact's own ``pack``. Returns self.

        Raises:
            UsageError: no artifact of that name is declared, or it does not take this model.
            TypeError: metadata is no dict.
        """
        self.artifacts[name].pack(*args, metadata=metadata, **options)
        return self

    def load_artifacts(self, folder: Path, metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Fill every artifact from a bundle's artifacts folder; ``metadata`` by the artifact's name."""
        for name, artifact in self.artifacts.items():
            artifact.load(folder, metadata=metadata.get(name))

    def not_packed(self) -> list[str]:
        """The names of the declared artifacts that hold no model yet: a service is saved when there is none."""
        return self.artifacts.not_packed()

    @property
    def env(self) -> Environment:
        """What this instance needs to run elsewhere: the class's @env, and what its artifacts add to it."""
        if "_environment" not in self.__dict__:
            declared = type(self)._env
            environment = environment_from({}) if declared is None else declared.copy()
            for artifact in self.artifacts.values():
                artifact.set_dependencies(environment)
            self.__dict__["_environment"] = environment
        found: Environment = self.__dict__["_environment"]
        return found

    @property
    def inference_apis(self) -> list[InferenceAPI]:
        """The apis, bound to this instance, in the order of their definition, those of a base class first."""
        if "_apis" not in self.__dict__:
            self.__dict__["_apis"] = [declared.bound_to(self) for declared in declared_apis(type(self))]
        return list(self.__dict__["_apis"])

    def get_inference_api(self, name: str) -> InferenceAPI:
        """The api of that name.

        Raises:
            UsageError: there is none; the message lists those that are.
        """
        for found in self.inference_apis:
            if found.name == name:
                return found
        names = ", ".join(found.name for found in self.inference_apis) or "none; declare one with @api"
        raise UsageError(f"{self.name} has no api named {name!r}; it has: {names}")


def service_name(cls: type[ServiceCore]) -> str:
    """The name under which services of this class are saved.

    Raises:
        UsageError: the class has a name that no folder and package may have.
    """
    return check_service_name(cls._bento_service_name or cls.__name__)


def declared_apis(cls: type) -> list[InferenceAPI]:
    """The apis of a class, unbound. A method that is overridden without @api is none any more, as in BentoML 0.13.

    Raises:
        UsageError: two methods are declared under one name or route.
    """
    attributes = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    found: dict[str, InferenceAPI] = {}
    for attribute in attributes:
        value = next(vars(base)[attribute] for base in cls.__mro__ if attribute in vars(base))
        declared = getattr(value, "__dict__", {}).get(API_ATTRIBUTE)
        if not isinstance(declared, InferenceAPI):
            continue
        _check_attribute(cls, attribute)
        for other in found.values():
            if other.function is not declared.function and other.name == declared.name:
                raise UsageError(f"{cls.__name__} declares two apis named {other.name!r}: give one another api_name")
            if other.function is not declared.function and other.route.strip("/") == declared.route.strip("/"):
                raise UsageError(
                    f"{cls.__name__} declares two apis at the route {other.route!r}: give one another route"
                )
        found[declared.name] = declared
    return list(found.values())


def _check_attribute(cls: type, attribute: str) -> None:
    """Refuse an api method that would replace one of the service's own, such as ``env`` or ``save``."""
    if any(attribute in vars(base) for base in cls.__mro__ if base.__module__.partition(".")[0] == "bentobatch"):
        raise UsageError(
            f"{cls.__name__}.{attribute} is an api under the name of one of the service's own attributes: "
            f"name the method otherwise, and set api_name={attribute!r} where the name matters"
        )


def module_of(cls: type) -> ModuleType:
    """The module that a service class can be imported from again, as saving needs it.

    Raises:
        UsageError: the class was defined in __main__, in a notebook or a prompt, inside a function, or in a module
            that has no file; the message says what to do.
    """
    advice = "write the class at the top of a module of its own (service.py), and import it from there"
    if cls.__module__ in ("__main__", "__mp_main__"):
        raise UsageError(
            f"{cls.__name__} is defined in __main__, the script or prompt itself, which a bundle cannot import again "
            f"(importing it would run the training): {advice}"
        )
    module = sys.modules.get(cls.__module__)
    if module is None or getattr(module, "__file__", None) is None:
        raise UsageError(f"{cls.__name__} is defined in {cls.__module__}, which is no module with a file: {advice}")
    if getattr(module, cls.__qualname__, None) is not cls:
        raise UsageError(f"{cls.__qualname__} is not found in {cls.__module__} under that name: {advice}")
    return module
