"""This module makes a service with its models in it at the moment when BentoML had them there: inside ``__init__``."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

_Fill = Callable[[Any], None]

_pending: ContextVar[tuple[type, _Fill] | None] = ContextVar("_pending", default=None)


def make_service(cls: type, fill: _Fill) -> Any:
    """An instance of ``cls`` that ``fill`` has put the models into: by ``fill_pending``, where the class's ``__init__``
    calls that of the legacy base class and goes on with the models in hand, else afterwards."""
    token = _pending.set((cls, fill))
    try:
        service = cls()
        if _pending.get() is not None:
            fill(service)
        return service
    finally:
        _pending.reset(token)


def fill_pending(service: Any) -> None:
    """Put the models into a service that ``make_service`` is making; nothing for any other one."""
    pending = _pending.get()
    if pending is not None and type(service) is pending[0]:
        _pending.set(None)
        pending[1](service)
