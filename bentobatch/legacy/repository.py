"""This module is what BentoML offered to code that looks at saved bundles: their manifest, and Yatai's client.

A module that holds a service may import these for its other parts, such as a script at its end; the service runs without.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bentobatch.errors import UsageError
from bentobatch.legacy.yaml_1_2 import read_yaml


class SavedBundleConfig:
    """``bentoml.yml`` of a bundle, as ``config`` and by its keys."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.kind = config.get("kind")

    def __getitem__(self, key: str) -> Any:
        return self.config[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or ``default``."""
        return self.config.get(key, default)


def load_saved_bundle_config(bundle_path: str) -> SavedBundleConfig:
    """``load_saved_bundle_config``: what the manifest of a bundle's folder says."""
    return SavedBundleConfig(read_yaml(Path(bundle_path, "bentoml.yml").read_text("utf-8")))


def get_yatai_client(yatai_url: str | None = None) -> Any:
    """``get_yatai_client``.

    Raises:
        UsageError: there is no Yatai.
    """
    where = f" {yatai_url}" if yatai_url else ""
    raise UsageError(
        f"the bundle's code asks for Yatai{where}, which bentobatch does not speak to: saved bundles are in a repository "
        "here (bentobatch list, get, push, pull; bentobatch.load for code)"
    )
