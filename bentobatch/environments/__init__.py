"""This package makes and finds the environments that bundles run in: interpreters with the libraries of a bundle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interpreters:
    """Where a bundle runs. ``worker`` is the interpreter of its code and models, None the one that we run in; ``models``
    one of an older Python, which holds the pickled models alone, while the code runs in the worker."""

    worker: str | None = None
    models: str | None = None
