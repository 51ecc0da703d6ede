"""This module reads a Dockerfile as Docker's own parser does, and makes a bundle that has one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.bundle.projects import project

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput

@bentobatch.env(setup_sh="echo made > made_by_setup\\n", docker_base_image={image!r})
class Doubler(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        return [value * 2 for value in values]
"""
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


def doubler(folder: Path, *, image: str | None = None) -> Path:
    """A bundle that asks for nothing but bentobatch, and has a setup script."""
    with project(folder / "p", {"service.py": SERVICE.format(image=image)}, "service") as module:
        return Path(module.Doubler().save_to_dir(folder / "bundle", version="v1"))


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions in their order, as (NAME, arguments); continued lines are joined."""
    found: list[tuple[str, str]] = []
    pending = ""
    for line in text.split("\n"):
        if line.lstrip().startswith("#") or (not line.strip() and not pending):
            continue
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + " "
            continue
        name, _, rest = (pending + line).strip().partition(" ")
        found.append((name.upper(), rest.strip()))
        pending = ""
    assert not pending
    return found


def words(arguments: str) -> list[str] | None:
    """The words of an instruction in its JSON form, None where it is in the shell's."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return None
    assert isinstance(value, list)
    assert all(isinstance(word, str) for word in value)
    return value
