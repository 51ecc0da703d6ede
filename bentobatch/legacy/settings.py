"""This module is what old bundles import of BentoML's settings and small tools. There is nothing left to set."""

from __future__ import annotations

import configparser
import functools
import importlib
import os
import tempfile
from types import ModuleType
from typing import Any


class _Config(configparser.ConfigParser):
    """``config("core").get(…)`` of before 0.12: every section is there and empty, so a ``fallback`` is what it gives."""

    def __call__(self, section: str) -> configparser.SectionProxy:
        if not self.has_section(section):
            self.add_section(section)
        return self[section]


config = _Config()
cached_property = functools.cached_property
TempDirectory = tempfile.TemporaryDirectory


class LazyLoader(ModuleType):
    """A module that is imported when the first of its names is asked for."""

    def __init__(self, local_name: str, parent_module_globals: dict[str, Any], name: str, warning: str | None = None):
        super().__init__(name)
        del warning
        self._local_name, self._parent = local_name, parent_module_globals

    def __getattr__(self, item: str) -> Any:
        module = importlib.import_module(self.__name__)
        self._parent[self._local_name] = module
        return getattr(module, item)


def configure_logging(*_args: Any, **_options: Any) -> None:
    """Logging is set up by whoever runs the bundle."""


def inject_dependencies() -> None:
    """Nothing is injected."""


def get_local_config_file() -> None:
    """There is none."""


def get_debug_mode() -> bool:
    """BentoML's debug mode, which is off."""
    return False


def set_debug_mode(enabled: bool) -> None:
    """--debug of the command line is the way."""
    del enabled


def get_bentoml_deploy_version(version: str) -> str:
    """The version that was asked about."""
    return version


def expand_env_var(text: str) -> str:
    """``text`` with ``~`` and variables of the environment in their places."""
    return os.path.expanduser(os.path.expandvars(text))
