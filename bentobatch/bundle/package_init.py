"""This module is the package of a saved bundle: ``load()`` gives its service, ``cli()`` is its console command.

bentobatch copies this file, as it stands, into every bundle as ``<Service>/__init__.py``. Of an installed bundle it is the
package itself; the bundle's files lie beside it, and are compared with the bundle's digest whenever it is loaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_INSTALLED = _HERE / "_bundle"
BUNDLE = str(_INSTALLED if (_INSTALLED / "bentoml.yml").is_file() else _HERE.parent)
"""The bundle's folder, as bentobatch.load and `bentobatch run` take it."""


def load() -> Any:
    """The service, after every file of the bundle was compared with its digest."""
    return _bentobatch("bentobatch").load(BUNDLE)


def cli() -> None:
    """The console command: run, info, serve and their like, for this bundle."""
    sys.exit(_bentobatch("bentobatch.cli.installed").main(__name__, BUNDLE))


def _bentobatch(module: str) -> Any:
    """The module of the installed bentobatch; of the one that the package brings along where there is none."""
    if importlib.util.find_spec("bentobatch") is None:
        sys.path.append(str(_HERE / "_bentobatch"))
    return importlib.import_module(module)


def __getattr__(name: str) -> str:
    """``__version__`` is the service's, and ``__VERSION__`` the name that BentoML 0.13 has for it."""
    if name not in ("__version__", "__VERSION__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    text = Path(BUNDLE, "bentobatch_package.json").read_text("utf-8")
    return str(json.loads(text)["service_version"])
