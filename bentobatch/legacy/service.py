"""This module is BentoService and its decorators as a bundle of BentoML's has them: the house's own, in the old forms.

What an old bundle declares was accepted when it was saved, so nothing here refuses an option that running does not need.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import bentobatch
from bentobatch.errors import UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.legacy.adapters import AbsentAdapter
from bentobatch.legacy.loading import fill_pending
from bentobatch.service import declarations
from bentobatch.service.environment import Environment, environment_from

_log = logging.getLogger("bentobatch.legacy")
_Service = TypeVar("_Service", bound=type)


class BentoService(bentobatch.BentoService):
    """The base class of old services. Its ``__init__`` leaves the models in ``self.artifacts``, as BentoML's did."""

    _bento_service_bundle_path: str | None = None
    _bento_service_bundle_version: str | None = None

    def __init__(self) -> None:
        fill_pending(self)

    @property
    def web_static_content(self) -> str | None:
        """The folder of web pages, where there is one."""
        return self._web_static_content

    def get_service_apis(self) -> list[Any]:
        """``inference_apis``, under its name of before 0.8."""
        return self.inference_apis


def api(
    *args: Any,
    input: Any = None,
    output: Any = None,
    api_name: str | None = None,
    route: str | None = None,
    api_doc: str | None = None,
    mb_max_batch_size: Any = 4000,
    mb_max_latency: Any = 20000,
    batch: bool | None = None,
    batch_by_default: bool = False,
    **options: Any,
) -> Callable[[Any], Any]:
    """``@api(input=…)``, or the form of before 0.8, ``@api(DataframeHandler, orient="records")``: a class and its options.

    ``batch_by_default``: what a bundle of 0.8 means by leaving ``batch`` out, which did not exist then.
    """
    adapter = input
    if adapter is None and args and inspect.isclass(args[0]):
        adapter = args[0](*args[1:], **options)
    if adapter is None:
        raise UsageError("@api needs an input adapter, such as @api(input=DataframeInput(), batch=True)")
    if isinstance(adapter, AbsentAdapter):
        return functools.partial(_left_out, reason=adapter.reason)
    together = batch_by_default if batch is None else bool(batch)
    return declarations.api(
        input=adapter,
        output=output or None,
        batch=together or bool(getattr(adapter, "batch_only", False)),
        api_name=api_name,
        route=route,
        api_doc=api_doc,
        mb_max_batch_size=_at_least_one(mb_max_batch_size),
        mb_max_latency=_at_least_one(mb_max_latency),
    )


def _left_out(function: Any, *, reason: str) -> Any:
    _log.warning("the api %r is left out: %s", getattr(function, "__name__", function), reason)
    return function


def _at_least_one(value: Any) -> int:
    return max(1, int(value))


def artifacts(declared: Sequence[BentoServiceArtifact]) -> Callable[[_Service], _Service]:
    """Declare the models; they take the place of those of a base class, as in BentoML."""
    listed = list(declared)
    for artifact in listed:
        if not isinstance(artifact, BentoServiceArtifact):
            raise UsageError(f"@artifacts takes artifacts such as SklearnModelArtifact('model'), not {artifact!r}")
    names = [artifact.name for artifact in listed]
    if len(set(names)) < len(names):
        raise UsageError(f"@artifacts lists a name twice: {', '.join(names)}")

    def declare(cls: _Service) -> _Service:
        cls._declared_artifacts = listed  # type: ignore[attr-defined]
        return cls

    return declare


def env(**options: Any) -> Callable[[_Service], _Service]:
    """Keep what ``@env`` declares as far as bentobatch knows it; what the bundle needs stands in its files anyway."""
    renamed = {
        {
            "pip_dependencies": "pip_packages",
            "auto_pip_dependencies": "infer_pip_packages",
            "conda_overwrite_channels": "conda_override_channels",
        }.get(name, name): value
        for name, value in options.items()
        if value is not None and name != "zipimport_archives"  # they are in the bundle
    }
    kept: dict[str, Any] = {}
    for name, value in renamed.items():
        try:
            environment_from({name: value})
        except UsageError as error:
            _log.debug("an option of @env is left out: %s", error)
        else:
            kept[name] = value
    declared: Environment = environment_from(kept)

    def declare(cls: _Service) -> _Service:
        cls._env = declared  # type: ignore[attr-defined]
        return cls

    return declare


def ver(major: int, minor: int) -> Callable[[_Service], _Service]:
    """The first two numbers of a version that is yet to be made; a bundle has its own already."""

    def declare(cls: _Service) -> _Service:
        cls._version_major, cls._version_minor = major, minor  # type: ignore[attr-defined]
        return cls

    return declare


def web_static_content(folder: str) -> Callable[[_Service], _Service]:
    """The folder of web pages as it was named at saving; loading puts the bundle's own copy in its place."""

    def declare(cls: _Service) -> _Service:
        cls._web_static_content = folder  # type: ignore[attr-defined]
        return cls

    return declare


def load(path: str, *_args: Any, **_options: Any) -> Any:
    """``bentoml.load``: the service in another bundle, of BentoML's or of ours."""
    return bentobatch.load(path)


def load_class(path: str) -> type:
    """``load_bento_service_class``."""
    return type(load(path))


def load_api(path: str, api_name: str | None = None) -> Any:
    """``load_bento_service_api``; the first one without a name."""
    service = load(path)
    return service.get_inference_api(api_name) if api_name else service.inference_apis[0]


def save(service: Any, base_path: str | None = None, version: str | None = None, labels: Any = None) -> str:
    """``bentoml.save``: into the local repository."""
    if base_path is not None:
        raise UsageError("bentoml.save(base_path=…) is not supported: use service.save_to_dir(path)")
    saved: str = service.save(version=version, labels=labels)
    return saved


def save_to_dir(service: Any, path: str, version: str | None = None, silent: bool = False) -> str:
    """``bentoml.save_to_dir``."""
    del silent
    saved: str = service.save_to_dir(path, version)
    return saved
