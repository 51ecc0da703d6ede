"""This module says where models and tensors lie that can lie on a GPU: what the caller, or this machine's user, asked for."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from bentobatch.errors import UsageError

VARIABLE = "BENTOBATCH_DEVICE"
"""The environment variable that holds where the caller says nothing, such as in a scheduler's workers."""

_FORM = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)
_asked: ContextVar[str | None] = ContextVar("device", default=None)


def checked_device(text: str, where: str = "--device") -> str:
    """``text``: "auto" (a GPU where there is one that the library can use, else the CPU), "cpu", "cuda" (the GPU that
    the environment names, else the first) or "cuda:N".

    Raises:
        UsageError: it is something else.
    """
    if not _FORM.fullmatch(text):
        raise UsageError(f"{where} {text!r} is no device: give auto, cpu, or a GPU as cuda:0")
    return text


def asked_device() -> str:
    """The device for what is loaded or made now: that of ``on_device``, else the environment's, else "auto"."""
    asked = _asked.get()
    if asked not in (None, "cuda"):
        return asked
    named = checked_device(os.environ.get(VARIABLE) or "auto", VARIABLE)
    return "cuda" if asked == "cuda" and not named.startswith("cuda") else named


def on_device(device: str | None) -> AbstractContextManager[None]:
    """Inside, ``device`` is the one that is asked for; None leaves it to the environment."""
    return _AS_IT_IS if device == _asked.get() else _on_device(device)


_AS_IT_IS = contextlib.nullcontext()


@contextlib.contextmanager
def _on_device(device: str | None) -> Iterator[None]:
    token = _asked.set(None if device is None else checked_device(device))
    try:
        yield
    finally:
        _asked.reset(token)


def cuda_number(device: str) -> int:
    """The number of a GPU: 1 for "cuda:1"."""
    return int(device.partition(":")[2] or 0)


def kind_of(device: str) -> str:
    """ "cuda" for any GPU, "cpu" for the CPU: values of one kind are taken to be alike."""
    return device.partition(":")[0]


def unavailable(device: str, owner: str, why: str) -> UsageError:
    """The error for a device that was asked for by name, and is not here."""
    return UsageError(f"{owner}: the device {device} is not available here ({why}): use --device auto or --device cpu")


def torch_device(torch: Any, owner: str) -> str:
    """Where PyTorch, given as its module, is to put a model or a tensor of ``owner``: "cpu" or "cuda:N".

    Raises:
        UsageError: a GPU was asked for by name, and is not here.
    """
    device = asked_device()
    if device == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if count else "cpu"
    if cuda_number(device) >= count:
        raise unavailable(device, owner, f"PyTorch {torch.__version__} sees {count or 'no'} GPU{'s'[count == 1 :]}")
    return device
