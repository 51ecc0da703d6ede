"""This module holds the decorators that declare a service: api, artifacts, env, ver, web_static_content."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bentobatch import plugins
from bentobatch.errors import UsageError
from bentobatch.expectations import parse
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.service.apis import InferenceAPI, tasks_parameter
from bentobatch.service.artifacts import RESERVED_ARTIFACT_NAMES
from bentobatch.service.environment import Environment, environment_from, has_control_characters
from bentobatch.service.schemas import schema_from

if TYPE_CHECKING:
    from bentobatch.adapters.base import InputAdapter, OutputAdapter

API_ATTRIBUTE = "_bentobatch_api"
"""Where the decorator leaves the InferenceAPI on the function."""

RESERVED_API_NAMES = frozenset(
    "index swagger docs healthz metrics feedback livez readyz metadata openapi.json".split()  # noqa: SIM905
)
"""Paths that the online server answers itself."""

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Service = TypeVar("_Service", bound=type)


def api(
    input: InputAdapter | type[InputAdapter] | None = None,
    output: OutputAdapter | type[OutputAdapter] | None = None,
    *,
    batch: bool = False,
    api_name: str | None = None,
    route: str | None = None,
    api_doc: str | None = None,
    mb_max_batch_size: int = 4000,
    mb_max_latency: int = 20000,
    output_schema: Any = None,
    row_independent: bool = True,
    expect: Sequence[str] = (),
) -> Callable[[_Function], _Function]:
    """Declare a method of a service as an api. The method itself stays as it is, and can be called as before.

    ``input``: an input adapter; its class is taken too, and made without options (BentoML's older manner).
    ``output``: an output adapter; by default it is chosen by what the function returns. ``batch``: the function takes
    many rows and returns one result for each. ``mb_max_batch_size`` (rows) and ``mb_max_latency`` (milliseconds) bound
    a micro-batch of the online server. ``output_schema``: the columns of the result, as a pyarrow.Schema or a dict of
    type names. ``row_independent=False``: a row's result depends on the others of its batch, so rows that fail are not
    searched for by cutting the batch. ``expect``: what must hold of a batch job's output before it is committed, as lines of
    the grammar in ``bentobatch.expectations``, such as "prediction between 0 and 1".

    Raises:
        UsageError: an option makes no sense; the message says which and what to write.
    """
    if inspect.isfunction(input):
        raise UsageError(f"@api on {input.__name__} has no input: write @api(input=DataframeInput(), batch=True) or so")

    def declare(function: _Function) -> _Function:
        where = f"@api on {getattr(function, '__qualname__', function)}"
        _check_function(function, where)
        name = _checked_name(function.__name__ if api_name is None else api_name, where)
        source, sink = _checked_input(input, batch, where), _checked_output(output, where)
        declared = InferenceAPI(
            name=name,
            function=function,
            input=source,
            output=sink,
            batch=_checked_flag("batch", batch, where),
            route=_checked_route(name if route is None else route, where),
            doc=_checked_doc(api_doc, where) or inspect.getdoc(function) or _default_doc(name, source, sink),
            mb_max_batch_size=_checked_count("mb_max_batch_size", mb_max_batch_size, "rows", where),
            mb_max_latency=_checked_count("mb_max_latency", mb_max_latency, "milliseconds", where),
            output_schema=None if output_schema is None else schema_from(output_schema, where),
            row_independent=_checked_flag("row_independent", row_independent, where),
            expect=_checked_expectations(expect, where),
        )
        tasks_parameter(function, declared.input)  # refuses a function that takes too few values
        setattr(function, API_ATTRIBUTE, declared)
        return function

    return declare


def _checked_expectations(expect: Sequence[str], where: str) -> tuple[str, ...]:
    if isinstance(expect, str) or not all(isinstance(line, str) for line in expect):
        raise UsageError(f"{where}: expect takes a list of lines such as ['rows >= 1000'], not {expect!r}")
    return tuple(parse(line).text for line in expect)


def artifacts(declared: Sequence[BentoServiceArtifact]) -> Callable[[_Service], _Service]:
    """Declare the models that a service is packed with, as a list of empty artifacts.

    A subclass has those of its base as well, and may declare one of them anew.

    Raises:
        UsageError: not a list of artifacts, a name twice, or an artifact that holds a model already.
    """
    if isinstance(declared, BentoServiceArtifact) or not isinstance(declared, (list, tuple)):
        raise UsageError("@artifacts takes a list: write @artifacts([SklearnModelArtifact('model')]) or so")
    seen: set[str] = set()
    for artifact in declared:
        if not isinstance(artifact, BentoServiceArtifact):
            raise UsageError(f"@artifacts takes artifacts such as SklearnModelArtifact('model'), not {artifact!r}")
        if artifact.name in RESERVED_ARTIFACT_NAMES:
            raise UsageError(f"artifact name {artifact.name!r} is a method of svc.artifacts: choose another name")
        if artifact.name in seen:
            raise UsageError(f"two artifacts are named {artifact.name!r}: give each a name of its own")
        if artifact.packed:
            raise UsageError(f"artifact {artifact.name!r} holds a model already: declare it empty, then pack a service")
        seen.add(artifact.name)

    def declare(cls: _Service) -> _Service:
        _check_class(cls, "@artifacts")
        twice = seen & {artifact.name for artifact in vars(cls).get("_declared_artifacts", ())}
        if twice:
            raise UsageError(f"two artifacts are named {min(twice)!r}: give each a name of its own")
        inherited = {artifact.name: artifact for artifact in getattr(cls, "_declared_artifacts", ())}
        inherited.update({artifact.name: artifact for artifact in declared})
        cls._declared_artifacts = tuple(inherited.values())  # type: ignore[attr-defined]
        return cls

    return declare


def env(**options: Any) -> Callable[[_Service], _Service]:
    """Declare what a service needs to run elsewhere; the options are the fields of ``Environment``.

    ``pip_dependencies``, ``auto_pip_dependencies`` and ``conda_overwrite_channels`` are older names of BentoML for
    ``pip_packages``, ``infer_pip_packages`` and ``conda_override_channels``; they work and warn.

    Raises:
        UsageError: an option is unknown, or its value malformed.
    """
    declared: Environment = environment_from(options)

    def declare(cls: _Service) -> _Service:
        _check_class(cls, "@env")
        cls._env = declared  # type: ignore[attr-defined]
        return cls

    return declare


def ver(major: int, minor: int) -> Callable[[_Service], _Service]:
    """Declare the first two numbers of every version of a service: it is saved as ``major.minor.<version>``.

    Raises:
        UsageError: they are not whole numbers from 0.
    """
    for name, number in (("major", major), ("minor", minor)):
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 10**9:
            raise UsageError(f"@ver takes whole numbers from 0, such as @ver(major=1, minor=0); {name} is {number!r}")

    def declare(cls: _Service) -> _Service:
        _check_class(cls, "@ver")
        cls._version_major, cls._version_minor = major, minor  # type: ignore[attr-defined]
        return cls

    return declare


def web_static_content(folder: str) -> Callable[[_Service], _Service]:
    """Declare a folder of web pages that the online server shows at ``/``; it is copied into the bundle at saving.

    Raises:
        UsageError: not the path of a folder, as text.
    """
    if not isinstance(folder, str) or not folder or has_control_characters(folder):
        raise UsageError(f"@web_static_content takes the path of a folder, as text, not {folder!r}")

    def declare(cls: _Service) -> _Service:
        _check_class(cls, "@web_static_content")
        cls._web_static_content = folder  # type: ignore[attr-defined]
        return cls

    return declare


def _check_class(cls: Any, decorator: str) -> None:
    if not isinstance(cls, type):
        raise UsageError(f"{decorator} decorates a service class, not {cls!r}: put it above the line 'class …'")


def _check_function(function: Any, where: str) -> None:
    if not inspect.isfunction(function):
        raise UsageError(f"{where}: it decorates a method of a service class, so put it directly above its 'def'")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"{where}: the function is async; write it with a plain 'def'")
    if hasattr(function, API_ATTRIBUTE):
        raise UsageError(f"{where}: the function is an api already; declare each api once")


def _checked_input(adapter: Any, batch: bool, where: str) -> InputAdapter:
    from bentobatch.adapters.base import InputAdapter  # imports pyarrow; whoever made an adapter has it loaded

    if adapter is None:
        raise UsageError(f"{where} has no input: write @api(input=DataframeInput(), batch=True) or so")
    if isinstance(adapter, type) and issubclass(adapter, InputAdapter):
        adapter = adapter()
    if not isinstance(adapter, InputAdapter):
        raise UsageError(f"{where}: input must be an input adapter such as DataframeInput(), not {adapter!r}")
    if adapter.batch_only and not batch:
        name = type(adapter).__name__
        raise UsageError(f"{where}: {name} takes a whole batch: declare @api(input={name}(), batch=True)")
    return adapter


def _checked_output(adapter: Any, where: str) -> OutputAdapter:
    from bentobatch.adapters.base import OutputAdapter  # as above

    if adapter is None:
        adapter = plugins.find("adapters", "DefaultOutput")
    if isinstance(adapter, type) and issubclass(adapter, OutputAdapter):
        adapter = adapter()
    if not isinstance(adapter, OutputAdapter):
        raise UsageError(f"{where}: output must be an output adapter such as JsonOutput(), not {adapter!r}")
    return adapter


def _checked_name(name: Any, where: str) -> str:
    if name in RESERVED_API_NAMES:
        raise UsageError(f"{where}: the name {name!r} is a path of the server itself: set api_name to another one")
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        raise UsageError(f"{where}: api_name {name!r} is not a plain Python identifier; write one such as 'predict'")
    return name


def _checked_route(route: Any, where: str) -> str:
    wrong = (
        not isinstance(route, str)
        or not route.strip("/")
        or route.startswith(("//", ":"))
        or any(character in route for character in "?#\\% ")
        or has_control_characters(route)
        or any(part in (".", "..") for part in route.split("/"))
    )
    if wrong:
        raise UsageError(
            f"{where}: route {route!r} is malformed; write a path such as 'v1/predict', without ? # % \\, blanks, "
            "'.' or '..' parts, and not beginning with // or :"
        )
    if route.strip("/") in RESERVED_API_NAMES:
        raise UsageError(f"{where}: route {route!r} is a path of the server itself: choose another one")
    return str(route)


def _checked_doc(doc: Any, where: str) -> str:
    if doc is not None and not isinstance(doc, str):
        raise UsageError(f"{where}: api_doc must be text, not {doc!r}")
    return doc or ""


def _default_doc(name: str, source: InputAdapter, sink: OutputAdapter) -> str:
    """BentoML 0.13's words, which its users' tools may look for."""
    kinds = f"input: '{type(source).__name__}', output: '{type(sink).__name__}'"
    return f"BentoService inference API '{name}', {kinds}"


def _checked_flag(option: str, value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{where}: {option} must be True or False, not {value!r}")
    return value


def _checked_count(option: str, value: Any, unit: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where}: {option} must be a whole number of {unit} from 1, not {value!r}")
    return value
