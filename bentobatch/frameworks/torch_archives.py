"""This module looks into files of PyTorch before they are loaded: which kind they are, and whether a pickle is inside.

``torch.export.load`` unpickles without limits what such an archive marks as pickled, so it gets none that does. The
archive is read by PyTorch's own reader, which then cannot see other files in it than were checked.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

_HARMLESS = re.compile(
    r"data/(weights|constants)/(weight|tensor)_\d+|models/[^/]+\.json|archive_format|archive_version|byteorder|version"
    r"|\.data/\w+|\.format_version|\.storage_alignment|extra/.*"
)
_CONFIG = re.compile(r"data/(weights|constants)/[^/]+_config\.json")
_SAMPLES = re.compile(r"data/sample_inputs/[^/]+\.pt")


def load_tensors(torch: Any, source: Any, device: str) -> Any:
    """What a file of torch.save holds, if that is tensors and containers only; nothing else of it is unpickled.

    Raises:
        Exception: whatever PyTorch raises for other content, and for damage.
    """
    return torch.load(source, map_location=device, weights_only=True)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, whose code and classes PyTorch reads without Python's unpickler."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def pickles_in_export(torch: Any, path: Path) -> list[str]:
    """What ``torch.export.load`` would unpickle of the archive ``path``, and what nobody knows; nothing is unpickled.

    Raises:
        RuntimeError: it is no archive of PyTorch.
        ValueError: a part of it is malformed.
    """
    reader = torch._C.PyTorchFileReader(str(path))
    names = [str(name) for name in reader.get_all_records()]
    if "archive_format" not in names or reader.get_record("archive_format") != b"pt2":
        raise ValueError("it is not in the format pt2 of torch.export.save")
    found = []
    for name in names:
        if _CONFIG.fullmatch(name):
            found += _pickled_entries(name, reader.get_record(name))
        elif _SAMPLES.fullmatch(name):
            if not _is_plain(torch, reader.get_record(name)):
                found.append(name)
        elif not _HARMLESS.fullmatch(name):
            found.append(name)
    return found


def _pickled_entries(name: str, data: bytes) -> list[str]:
    entries = json.loads(data)["config"].items()
    return [f"{name}: {key}" for key, entry in entries if entry.get("use_pickle") is not False]


def _is_plain(torch: Any, data: bytes) -> bool:
    """Whether ``data`` holds tensors and containers only; torch.export falls back to an unlimited load where not."""
    try:
        load_tensors(torch, io.BytesIO(data), "cpu")
    except Exception:  # noqa: BLE001 - PyTorch's answer to what it would not load safely; the caller refuses the file
        return False
    return True
