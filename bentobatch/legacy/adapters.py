"""This module makes adapters that take BentoML's arguments out of the house's own, found by their names when asked for.

One that the house has not, or has not yet, is told of when it is used, and not when it is imported.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from bentobatch import plugins
from bentobatch.errors import UsageError

_POSITIONAL = {
    "DataframeInput": ("typ", "orient", "columns", "dtype", "input_dtypes"),
    "TfTensorInput": ("method",),
    "MultiFileInput": ("input_names", "allow_none"),
    "ImageInput": ("accept_image_formats", "pilmode"),
    "MultiImageInput": ("input_names", "pilmode", "accept_image_formats"),
    "AnnotatedImageInput": ("image_input_name", "annotation_input_name", "pilmode", "accept_image_formats"),
    "JsonOutput": ("ensure_ascii",),
    "DataframeOutput": ("output_orient",),
}
"""The arguments of BentoML 0.13's adapters in their order; those of ours differ."""

_RENAMED = {
    "BentoHandler": "InputAdapter",
    "BaseInputAdapter": "InputAdapter",
    "BaseOutputAdapter": "OutputAdapter",
    "DataframeHandler": "DataframeInput",
    "JsonHandler": "JsonInput",
    "ImageHandler": "MultiImageInput",
    "TensorflowTensorHandler": "TfTensorInput",
    "LegacyJsonInput": "JsonInput",
    "LegacyImageInput": "MultiImageInput",
    "PytorchTensorInput": "TorchTensorInput",
}
"""Names of before 0.8, and of the bases, to the plug-ins' names."""


@functools.cache
def adapter(name: str) -> type:
    """The class for BentoML's adapter ``name``: the house's own with BentoML's arguments, or one that raises when used."""
    wanted = _RENAMED.get(name, name)
    if wanted in ("InputAdapter", "OutputAdapter"):
        from bentobatch.adapters import base  # imports pyarrow, which whoever declares an api has

        found: type = getattr(base, wanted)
        return found
    base_class = own_class("adapters", wanted)
    if base_class is None:
        return type(name, (AbsentAdapter,), {"reason": f"this bentobatch has no adapter {wanted}"})
    made: type = type(base_class)(
        wanted, (base_class,), {"__init__": _old_init(base_class), "__doc__": base_class.__doc__}
    )
    return made


class AbsentAdapter:
    """An adapter that the house has not. An api that is declared with it is left out, and the others work."""

    reason = ""

    def __init__(self, *_args: Any, **_options: Any) -> None: ...


def absent(name: str, reason: str) -> type:
    """A class of that name which cannot be made or derived from; ``reason`` says why."""

    def refuse(*_args: Any, **_options: Any) -> Any:
        raise UsageError(f"{name} of BentoML is not available here: {reason}")

    return type(name, (), {"__new__": refuse, "__init_subclass__": classmethod(refuse)})


def own_class(kind: str, name: str) -> Any:
    """The house's own class of that name, or None where it has none."""
    try:
        return plugins.find(kind, name)
    except UsageError as error:
        if type(error) is not UsageError:  # a library is missing, which the message names
            raise
        return None


def _options_of(base: type) -> set[str]:
    """The options that ``base`` takes, those that it hands on to its own base included."""
    taken: set[str] = set()
    for cls in base.__mro__:
        if "__init__" in vars(cls):
            parameters = inspect.signature(vars(cls)["__init__"]).parameters.values()
            taken |= {parameter.name for parameter in parameters}
            if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
                break
    return taken


def _old_init(base: Any) -> Any:
    order = _POSITIONAL.get(base.__name__, ())
    taken = _options_of(base)

    def __init__(self: Any, *args: Any, **options: Any) -> None:  # noqa: N807 - it becomes the class's own
        if len(args) > len(order):
            raise UsageError(f"{base.__name__} takes {len(order)} values by position, not {len(args)}: name them")
        given = {**dict(zip(order, args, strict=False)), **options}
        dtypes = given.pop("input_dtypes", None)
        if dtypes is not None and given.get("dtype") is None:
            given["dtype"] = dtypes
        formats = given.get("accept_image_formats")
        if formats is not None:
            given["accept_image_formats"] = [f".{text.lstrip('.')}" for text in formats]
        # BentoML's adapters took any option and kept it for itself, so an unknown one (is_batch_input, cors) meant nothing
        base.__init__(self, **{key: value for key, value in given.items() if key in taken})

    return __init__
