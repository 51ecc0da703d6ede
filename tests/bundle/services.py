"""This module holds the source of a small service, which the tests change and save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.bundle.projects import project

SERVICE = """
import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.pickle import PickleArtifact
import helper

@bentobatch.artifacts([PickleArtifact("model")])
class Scorer(bentobatch.BentoService):
    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, values):
        import late
        return [(helper.WHO, late.WHO, self.artifacts.model.who(), value) for value in values]
"""


def files_of(who: str) -> dict[str, str | bytes]:
    """The files of a project whose helpers and model say ``who``."""
    return {
        "service.py": SERVICE,
        "helper.py": f"WHO = {who!r}\nclass Thing:\n    def who(self):\n        import late\n        return late.WHO\n",
        "late.py": f"WHO = 'late {who}'",
        "unrelated.bin": b"x" * 1_000_000,
    }


def save_service(folder: Path, bundle: Path, who: str = "a", **changed: str | bytes) -> Path:
    """Save the service of a project in ``folder`` as ``bundle``; ``changed`` replaces files (helper_py -> helper.py)."""
    files: dict[str, Any] = files_of(who)
    files.update({name.replace("_py", ".py"): text for name, text in changed.items()})
    with project(folder, files) as module:
        service = module.Scorer()
        service.pack("model", module.helper.Thing(), metadata={"who": who})
        return Path(service.save_to_dir(bundle, version="v1"))
