"""This module calls models that live in a process of another Python, where today's libraries cannot load them.

The code of a service runs here; what it gets as its model is a stand-in. A call, an attribute or an item of it is asked
for there, and comes back as a value: numbers, texts, lists, dicts, numpy arrays, pandas' frames, scipy's matrices.
"""

from __future__ import annotations

import builtins
import contextlib
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from bentobatch.errors import BundleError

_PROGRAM = Path(__file__).with_name("model_host.py")

model_host: ContextVar[ModelHost | None] = ContextVar("model_host", default=None)
"""Where pickled models are loaded, set around the load of a bundle; None: here."""


class ModelHost:
    """A process of the interpreter ``python``, started at first use. One that dies is replaced: the call that it died of
    raises, and the next one finds its models loaded again. Threads take turns."""

    def __init__(self, python: str) -> None:
        self.python = python
        self._paths: list[Path] = []
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: Any = None

    def load(self, path: Path, owner: str) -> HostedModel:
        """The stand-in of the model that is pickled in a file.

        Raises:
            BundleError: it cannot be loaded there.
        """
        try:
            with self._lock:
                self._start()
                number = self._ask({"do": "load", "path": str(path)})
                self._paths.append(path)
        except Exception as error:
            raise BundleError(f"{owner} cannot be loaded by {self.python}: {type(error).__name__}: {error}") from error
        return HostedModel(self, number, (), "model")

    def ask(self, request: Mapping[str, Any], arguments: Any = None) -> Any:
        """What the process answers.

        Raises:
            Exception: what the model raised, as a built-in exception of the same kind.
        """
        with self._lock:
            self._start()
            return self._ask(request, arguments)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [self.python, "-I", str(_PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
            self._stream = ours.makefile("rwb")
        for path in self._paths:
            self._ask({"do": "load", "path": str(path)})

    def _ask(self, request: Mapping[str, Any], arguments: Any = None) -> Any:
        from bentobatch.frameworks import model_values  # imports numpy, and every artifact's module imports this one

        buffers: list[bytes] = []
        message = dict(request)
        if arguments is not None:
            message["arguments"] = model_values.encode(arguments, buffers)
        try:
            model_values.send(self._stream, message, buffers)
            told = model_values.receive(self._stream)
        except OSError:
            told = None
        if told is None:
            raise RuntimeError(f"the model's process of {self.python} {self._end()}")
        answer, received = told
        if "error" in answer:
            raise _error(answer["error"])

        def stand_in(steps: Sequence[Sequence[Any]], name: str) -> HostedModel:
            return HostedModel(self, message["model"], tuple((kind, key) for kind, key in steps), name)

        return model_values.decode(answer["result"], received, stand_in)

    def _end(self) -> str:
        """End the process, and say how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "is not there"
        with contextlib.suppress(OSError):  # what was not sent is nobody's any more
            self._stream.close()
        try:
            status = process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        known = -status in signal.Signals._value2member_map_
        return f"was ended by {signal.Signals(-status).name}" if known else f"ended by itself with status {status}"


class HostedModel:
    """The stand-in of a model, or of something in it, that lives in a ModelHost's process."""

    def __init__(self, host: ModelHost, number: int, steps: tuple[tuple[str, Any], ...], name: str) -> None:
        self._host = host
        self._number = number
        self._steps = steps
        self._name = name
        self._parts: dict[str, HostedModel] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks for is answered here, or not at all
            raise AttributeError(name)
        if name in self._parts:
            return self._parts[name]
        value = self._look("attr", name)
        if isinstance(value, HostedModel):
            self._parts[name] = value
        return value

    def __getitem__(self, key: Any) -> Any:
        return self._look("item", key)

    def __len__(self) -> int:
        length: int = self._host.ask({"do": "length", "model": self._number, "steps": self._steps})
        return length

    def __bool__(self) -> bool:
        return True

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        request = {"do": "call", "model": self._number, "steps": self._steps}
        return self._host.ask(request, {"args": list(args), "keywords": keywords})

    def __repr__(self) -> str:
        return f"<{self._name} in a process of {self._host.python}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} cannot be pickled: it lives in a process of its own")

    def _look(self, kind: str, key: Any) -> Any:
        steps = [*self._steps, (kind, key)]
        return self._host.ask({"do": "look", "model": self._number, "steps": steps})


def _error(told: Mapping[str, Any]) -> Exception:
    """What was raised there, as the nearest built-in exception; its own traceback is its cause."""
    for name in told["types"]:
        kind = getattr(builtins, name, None)
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            continue
        text = told["message"] if name == told["types"][0] else f"{told['types'][0]}: {told['message']}"
        try:
            error = kind(text)
        except TypeError:  # some need more than a text
            continue
        error.__cause__ = RuntimeError(f"\n{told['trace']}")
        return error
    return RuntimeError(f"{told['types'][0]}: {told['message']}")
