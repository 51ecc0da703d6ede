"""This module is a program: it holds models in a process of the Python that wrote them, and answers for them.

It runs in an environment of any Python from 3.7 on, without the rest of bentobatch, beside model_values.py. What it is
asked comes over the socket that its parent opened, and from nobody else.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import traceback
import types
import warnings
from typing import Any

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # at the end: there is a json.py beside it, among others
import model_values  # type: ignore[import-not-found]

sys.path.pop()

MODELS: list[Any] = []


def answer(request: Any, buffers: Any) -> tuple[Any, Any]:
    """What was asked for: a loaded model's number, an attribute, an item, a length, or the result of a call."""
    if request["do"] == "load":
        MODELS.append(_loaded(request["path"]))
        return len(MODELS) - 1, None
    value = MODELS[request["model"]]
    for kind, key in request["steps"]:
        value = getattr(value, key) if kind == "attr" else value[key]
    if request["do"] == "look":
        return value, request["steps"]
    if request["do"] == "length":
        return len(value), None
    arguments = model_values.decode(request["arguments"], buffers)
    return value(*arguments["args"], **arguments["keywords"]), None


def main() -> None:
    """Answer until the parent closes its end."""
    provide_cloudpickle()
    warn_once()
    stream = socket.socket(fileno=int(sys.argv[1])).makefile("rwb")
    while True:
        asked = model_values.receive(stream)
        if asked is None:
            return
        made: list[bytes] = []
        try:
            value, path = answer(*asked)
            told = {"result": model_values.encode(value, made, path)}
        except Exception as error:  # noqa: BLE001 - the border between this process and its parent
            made = []
            names = [cls.__name__ for cls in type(error).__mro__]
            told = {"error": {"types": names, "message": str(error), "trace": traceback.format_exc()}}
        model_values.send(stream, told, made)


def warn_once() -> None:
    """Show each distinct warning once: libraries juggle with the filters, and a model would warn at every call."""
    show, shown = warnings.showwarning, set()

    def once(message: Any, category: Any, *where: Any, **more: Any) -> None:
        if (str(message), category) not in shown:
            shown.add((str(message), category))
            show(message, category, *where, **more)

    warnings.showwarning = once


def provide_cloudpickle() -> None:
    """BentoML carried a copy of cloudpickle, which pickles name as bentoml.utils.cloudpickle."""
    try:
        import cloudpickle
    except ImportError:
        return
    for name in ("bentoml", "bentoml.utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["bentoml.utils.cloudpickle"] = cloudpickle


def _loaded(path: str) -> Any:
    try:
        import joblib
    except ImportError:
        with open(path, "rb") as file:
            return pickle.load(file)
    return joblib.load(path)


if __name__ == "__main__":
    main()
