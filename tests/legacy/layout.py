"""This module writes bundles in the very layout of BentoML 0.13.1, without BentoML."""

from __future__ import annotations

import pickle
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.bundle.load import load

MANIFEST = """\
version: {version}
kind: BentoService
metadata:
  created_at: 2021-08-31 11:12:23.055711
  service_name: {name}
  service_version: {service_version}
  module_name: {module}
  module_file: {module_file}
env:
  pip_packages:
  - bentoml=={version}
  - scikit-learn==0.24.2
  conda_env:
    name: bentoml-default-conda-env
    dependencies: []
  python_version: {python}
  docker_base_image: bentoml/model-server:{version}-py38
apis:
- name: predict
  docs: "BentoService inference API 'predict', input: 'DataframeInput', output: 'DefaultOutput'"
  input_type: DataframeInput
  output_type: DefaultOutput
  mb_max_batch_size: 4000
  mb_max_latency: 20000
  batch: true
  route: predict
  input_config:
    orient:
    typ: frame
    dtype:
artifacts:
- name: model
  artifact_type: PickleArtifact
  metadata: {{}}
"""

WRAPPER = """\
import os
import sys
import logging

from bentoml import saved_bundle, configure_logging
from bentoml.cli.bento_service import create_bento_service_cli

configure_logging(logging_level=logging.ERROR)
__VERSION__ = "{service_version}"
__module_path = os.path.abspath(os.path.dirname(__file__))
{name} = saved_bundle.load_bento_service_class(__module_path)
cli=create_bento_service_cli(__module_path)


def load():
    return saved_bundle.load_from_dir(__module_path)
"""

SERVICE = """
import bentoml
from bentoml.adapters import DataframeInput
from bentoml.service.artifacts.common import PickleArtifact


@bentoml.env(infer_pip_packages=True)
@bentoml.artifacts([PickleArtifact('model')])
class Doubler(bentoml.BentoService):
    @bentoml.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return df["x"] * self.artifacts.model["factor"]
"""


HEAD = """
import bentoml
from bentoml.service.artifacts.common import PickleArtifact
"""


def write_bundle(
    folder: Path,
    service: str = SERVICE,
    *,
    name: str = "Doubler",
    module: str = "doubler_service",
    files: Mapping[str, str | bytes] | None = None,
    model: Any = {"factor": 2.0},  # noqa: B006 - it is only pickled
    version: str = "0.13.1",
    service_version: str = "20210831111223_0A1B2C",
    python: str = "3.8.18",
    manifest: str | None = None,
    zipped: Mapping[str, str] | None = None,
) -> Path:
    """``folder`` as the bundle of ``service``. ``files`` are further ones below the code folder; ``model`` goes into
    artifacts/model.pkl, as it is where it is bytes; ``zipped``: sources in a zip archive that is imported from."""
    code = folder / name
    (code / "artifacts").mkdir(parents=True)
    (code / "zipimports").mkdir()
    text = manifest or MANIFEST.format(
        version=version,
        name=name,
        service_version=service_version,
        module=module,
        module_file=module.replace(".", "/") + ".py",
        python=python,
    )
    source = code / f"{module.replace('.', '/')}.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(textwrap.dedent(service), "utf-8")
    for path, content in (files or {}).items():
        target = code / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    data = model if isinstance(model, bytes) else pickle.dumps(model, protocol=4)
    (code / "artifacts" / "model.pkl").write_bytes(data)
    if zipped:
        with zipfile.ZipFile(code / "zipimports" / "lib.zip", "w") as archive:
            for path, content in zipped.items():
                archive.writestr(path, textwrap.dedent(content))
    for inner in [code, *(path for path in code.rglob("*") if path.is_dir())]:
        if not (inner / "__init__.py").exists() and inner.name != "zipimports":
            (inner / "__init__.py").write_text("")
    (code / "__init__.py").write_text(WRAPPER.format(name=name, service_version=service_version))
    for place in (folder, code):
        (place / "bentoml.yml").write_text(text, "utf-8")
    (folder / "requirements.txt").write_text(f"bentoml=={version}\nscikit-learn==0.24.2")
    (folder / "environment.yml").write_text("name: bentoml-default-conda-env\ndependencies: []\n")
    (folder / "python_version").write_text(python)
    (folder / "Dockerfile").write_text(f"FROM bentoml/model-server:{version}-py38\n")
    for other in ("README.md", "MANIFEST.in", "setup.py", "docs.json", "bentoml-init.sh", "docker-entrypoint.sh"):
        (folder / other).write_text(f"{other} of {name}\n")
    return folder


def service_of(folder: Path, body: str, **options: Any) -> Any:
    """The service, loaded from a bundle whose code is ``body`` after the two usual imports."""
    return load(write_bundle(folder / "old", HEAD + body, **options))
