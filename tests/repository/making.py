"""This module makes bundles for the repository's tests: real ones, with little in them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from bentobatch.bundle.digest import file_entry
from bentobatch.bundle.layout import MANIFEST
from bentobatch.bundle.manifest import FORMAT_VERSION, KIND, manifest_text

CODE = "class Iris: ...\n"


def make_bundle(
    folder: Path,
    tag: str = "Iris:1",
    *,
    second: int = 0,
    model: bytes = b"a model",
    docs: str | None = None,
    **more: Any,
) -> Path:
    """A bundle of this tag in ``folder``, with the content ``model``, and with ``docs`` in its docs.json."""
    name, _, version = tag.partition(":")
    files = {f"{name}/service.py": CODE.encode(), f"{name}/artifacts/model.bin": model, "requirements.txt": b"six\n"}
    if docs is not None:
        files["docs.json"] = docs.encode()
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    content = {
        "version": "0.1.0",
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "metadata": {
            "created_at": datetime.datetime(2026, 1, 1) + datetime.timedelta(seconds=second),
            "service_name": name,
            "service_version": version,
            "module_name": "service",
            "class_name": "Iris",
        },
        "env": {"pip_packages": ["six"], "conda_env": {"name": "x"}, "python_version": "3.11.7"},
        "apis": [{"name": "predict", "input_type": "DataframeInput", "output_type": "DefaultOutput", "docs": "Predicts.",
                  "input_config": {"orient": "records"}}],
        "artifacts": [{"name": "model", "artifact_type": "PickleArtifact", "metadata": {"accuracy": 0.9}}],
        **more,
        "files": {path: file_entry(folder / path) for path in files},
    }  # fmt: skip
    (folder / MANIFEST).write_text(manifest_text(content), encoding="utf-8")
    return folder
