"""This module tests that no text of a service can become structure in a file of its bundle (S16), nor YAML run code (S11).

Each string field gets each hostile text. Either it is refused where it is declared or saved, or the written files have
the structure that they have with a harmless text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentobatch.bundle.manifest import read_manifest
from bentobatch.cli.main import main
from bentobatch.errors import BentobatchError
from tests.bundle.dockerfiles import instructions
from tests.bundle.projects import project

HOSTILE = {
    "newline": "a\nRUN evil",
    "return": "a\rRUN evil",
    "line separator": "a\u2028RUN evil",
    "next line": "a\u0085RUN evil",
    "semicolon": "a; touch evil",
    "command": "a$(touch evil)",
    "backtick": "a`touch evil`",
    "pipe": "a | sh",
    "option": "--index-url=https://evil",
    "inner option": "a --index-url https://evil",
    "quotes": "a'\"",
    "yaml": "a: [b, {c: &d",
    "yaml tag": "!!python/object/apply:os.mkdir [evil]",
    "template": "{{ evil }}{% evil %}",
    "heading": "# evil",
    "html": "</code><script>evil()</script>",
    "escape": "a\x1b]0;evil\x07",
    "nul": "a\0b",
    "bidi": "a\u202eb",
    "surrogate": "a\ud800b",
    "continued": "https://a\\",
}

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.json import JSONArtifact

@bentobatch.env({env})
@bentobatch.artifacts([JSONArtifact({artifact})])
class Service(bentobatch.BentoService):
    {name}
    @bentobatch.api(input=JsonInput(http_input_example={example}, request_schema={schema}), batch=True, {api})
    def predict(self, values):
        {doc}
        return values
"""

FIELDS = {
    "pip_packages": {"env": "pip_packages=['numpy', {text}]"},
    "pip_index_url": {"env": "pip_index_url={text}"},
    "pip_trusted_host": {"env": "pip_trusted_host={text}"},
    "pip_extra_index_url": {"env": "pip_extra_index_url={text}"},
    "conda_channels": {"env": "conda_channels=[{text}]"},
    "conda_dependencies": {"env": "conda_dependencies=['gcc', {text}]"},
    "docker_base_image": {"env": "docker_base_image={text}"},
    "artifact": {"artifact": "{text}"},
    "service name": {"name": "_bento_service_name = {text}"},
    "api_name": {"api": "api_name={text}"},
    "api_doc": {"api": "api_doc={text}"},
    "docstring": {"doc": "{text}"},
    "route": {"api": "route={text}"},
    "output_schema": {"api": "output_schema={{{text}: 'int64'}}"},
    "expect": {"api": "expect=[{text}]"},
    "example": {"example": "{{{text}: [{text}]}}"},
    "schema": {"schema": "{{{text}: {text}}}"},
    "metadata": {},
    "version": {},
    "label": {},
}
DEFAULTS = {
    "env": "",
    "artifact": "'model'",
    "name": "pass",
    "example": "{}",
    "schema": "None",
    "api": "",
    "doc": "pass",
}


def saved(field: str, text: str, folder: Path) -> Path:
    """A bundle of the service whose ``field`` is ``text``."""
    literal = ascii(text)
    parts = {name: part.format(text=literal) for name, part in FIELDS[field].items()}
    source = SERVICE.format(**{**DEFAULTS, **parts})
    with project(folder / "p", {"service.py": source}) as module:
        service = module.Service()
        slot = next(iter(service.artifacts.values())).name
        service.pack(slot, {"a": 1}, metadata={text: [text]} if field == "metadata" else None)
        labels = {"team": text} if field == "label" else None
        return Path(service.save(version=text if field == "version" else "v1", labels=labels))


def shape(value: Any) -> Any:
    """The structure of plain values: which kinds stand where, and how many. Texts and keys count as texts."""
    if isinstance(value, dict):
        return [(type(key).__name__, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def structure(bundle: Path) -> dict[str, Any]:
    """How pip, conda, an OpenAPI reader, Markdown and a shell would divide the files."""
    manifest = read_manifest(bundle)
    text = (bundle / "requirements.txt").read_text("utf-8")
    requirements = text.replace("\\\n", "").splitlines()  # as pip joins, and splits, at U+2028 too
    readme = (bundle / "README.md").read_text("utf-8")
    return {
        "files": len(manifest.files),
        "requirements": [line.split()[0] if line.startswith("-") else "requirement" for line in requirements],
        "conda": shape(yaml.safe_load((bundle / "environment.yml").read_text("utf-8"))),
        "docs": shape(json.loads((bundle / "docs.json").read_text("utf-8"))),
        "manifest": [shape(manifest.content[key]) for key in ("env", "apis", "artifacts", "metadata")],
        "readme": markdown_structure(readme),
        "dockerfile": [name for name, _ in instructions((bundle / "Dockerfile").read_text("utf-8"))],
        "server": len((bundle / "requirements-server.txt").read_text("utf-8").splitlines()),
        "project": (bundle / "pyproject.toml").read_text("utf-8"),
    }


def markdown_structure(text: str) -> list[str]:
    """The blocks that a Markdown reader sees: headings, items and HTML; what is indented by four is code."""
    blocks = []
    for line in text.splitlines():
        inner = line.removeprefix("  ") if line.startswith("      ") else line
        if inner.startswith("    ") or not line.strip():
            continue
        outside = "".join(line.split("`")[::2])  # what stands in backticks is code as well
        blocks.append(f"{line.split()[0][:3] if line[0] in '#*' else 'text'}{' html' if '<' in outside else ''}")
    return blocks


@pytest.mark.parametrize("field", FIELDS)
def test_no_text_of_a_service_becomes_structure(field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S16: refused in one line, or one text in the place of another."""
    monkeypatch.chdir(tmp_path)
    harmless = {"output_schema": "a", "expect": "rows >= 1", "pip_index_url": "https://a"}.get(field, "harmless")
    (tmp_path / "good").mkdir()
    monkeypatch.setenv("BENTOBATCH_HOME", str(tmp_path / "good" / "home"))
    wanted = structure(saved(field, harmless, tmp_path / "good"))
    for name, text in HOSTILE.items():
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("BENTOBATCH_HOME", str(folder / "home"))
        try:
            bundle = saved(field, text, folder)
        except BentobatchError as error:
            line = str(error)
        else:
            line = ""
            found = structure(bundle)
            if field in ("api_doc", "docstring"):  # text of many lines is more lines of code in the README
                found["manifest"] = wanted["manifest"]
            assert found == wanted, name
        assert len(line.splitlines()) <= 1, (name, line)
    assert not (tmp_path / "evil").exists()
    assert not list(tmp_path.rglob("evil"))


def test_an_api_document_cannot_leave_its_place_in_the_readme(tmp_path: Path) -> None:
    """Of whatever lines it is made."""
    text = "first\n# evil\n\n\n<script>evil()</script>\n```\n~~~\n* evil\n    x\n\n[a]: javascript:evil()\r# evil\x0b# evil"
    harmless = structure(saved("api_doc", "harmless", tmp_path / "good"))["readme"]
    (tmp_path / "home").rename(tmp_path / "aside")
    assert structure(saved("api_doc", text, tmp_path / "bad"))["readme"] == harmless


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.mkdir [{canary}]\n", "a: !!python/object/new:os.mkdir [{canary}]\n", "- *a\n"],
)
def test_a_bundle_whose_yaml_names_python_runs_nothing(text: str, tmp_path: Path, capfd: Any) -> None:
    """S11, from the command line: run and info end with 65 in one line. tests/bundle/test_manifest.py has the rest."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b/bentoml.yml").write_text(text.format(canary=tmp_path / "canary"))
    for words in (["info", str(tmp_path / "b")], ["run", str(tmp_path / "b"), "--input", "1"]):
        assert main(words) == 65
        assert capfd.readouterr().err.count("\n") == 1
    assert not (tmp_path / "canary").exists()
