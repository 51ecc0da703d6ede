"""This module reads which distributions a bundle asks for, without those that stand for bentobatch itself.

The workers run the bentobatch of their leader, whatever the environment, so that both speak alike; of the distribution
only what it needs is installed. BentoML's own is left out too: an old bundle's ``import bentoml`` is answered by ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bentobatch.bundle import layout
from bentobatch.bundle.digest import verify_file
from bentobatch.bundle.manifest import read_manifest
from bentobatch.bundle.policy import check_policy
from bentobatch.errors import BundleError
from bentobatch.service.environment import distribution_of

_OURS = frozenset({"bentobatch", "bentoml"})
_OWN_FILE = re.compile(r"(?:.*/)?(?:bentobatch|bentoml)-[^/]*\.(?:whl|tar\.gz)(?:\s.*)?", re.IGNORECASE)
_FOLDER = "bundled_pip_dependencies"


@dataclass(frozen=True)
class Wanted:
    """What a bundle asks for: lines of requirements.txt, the version of Python that saved it ("3.11.7"; None where it does
    not say), and the checksums of the distributions that lie in the bundle itself."""

    bundle: Path
    tag: str
    digest: str
    lines: tuple[str, ...]
    python: str | None
    carried: tuple[tuple[str, str], ...]


def wanted_of(bundle: Path, digest: str | None = None) -> Wanted:
    """What the bundle asks for; ``digest`` is the one that it must have.

    What it names will be installed, which may run code: so the policy of this machine is asked first.

    Raises:
        BundleError: the bundle, or one of these files, is not what was saved.
        PolicyError: the policy does not let it run here.
    """
    manifest = read_manifest(bundle)
    if digest is not None and manifest.digest != digest:
        raise BundleError(f"bundle {bundle}: it was changed since the run was planned; run again with the new one")
    check_policy(bundle, manifest)
    text = ""
    if layout.REQUIREMENTS in manifest.files:
        data = verify_file(bundle, layout.REQUIREMENTS, manifest.files[layout.REQUIREMENTS], keep=True) or b""
        text = data.decode("utf-8", "replace")
    carried = sorted(path for path in manifest.files if path.startswith(f"{_FOLDER}/"))
    for path in carried:
        verify_file(bundle, path, manifest.files[path])
    python = (manifest.content.get("env") or {}).get("python_version")
    return Wanted(
        bundle=bundle,
        tag=manifest.tag,
        digest=manifest.digest,
        lines=tuple(line for line in _joined(text) if line and not line.startswith("#") and not _is_ours(line)),
        python=None if python is None else str(python),
        carried=tuple((path, str(manifest.files[path]["sha256"])) for path in carried),
    )


def placed(lines: Iterable[str], bundle: Path) -> list[str]:
    """The lines, with folders of the bundle that ``--find-links`` names as absolute paths: installers do not agree on what a
    relative one is relative to."""
    found: list[str] = []
    for line in lines:
        option, _, folder = line.replace("=", " ", 1).partition(" ")
        inside = option in ("--find-links", "-f") and (bundle / folder.strip()).is_dir()
        found.append(f"--find-links {bundle / folder.strip()}" if inside else line)
    return found


def _joined(text: str) -> list[str]:
    """The lines, those that end in a backslash put together with what follows."""
    return [line.strip() for line in re.sub(r"\\\n", " ", text.replace("\r\n", "\n")).splitlines()]


def _is_ours(line: str) -> bool:
    return distribution_of(line) in _OURS or _OWN_FILE.fullmatch(line) is not None
