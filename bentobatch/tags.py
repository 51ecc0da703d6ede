"""This module spells and checks tags: ``name:version``, the way to name one saved bundle in a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bentobatch.errors import UsageError

LATEST = "latest"
"""Asks for the newest version of a name; never the version of anything that is saved."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9_.-]{1,128}")


@dataclass(frozen=True)
class Tag:
    """One saved bundle's name and version. ``version`` may be "latest" where a bundle is asked for.

    Raises:
        UsageError: the name or the version has a character, a length or a dot that a folder's name must not have.
    """

    name: str
    version: str = LATEST

    def __post_init__(self) -> None:
        check_name(self.name)
        _check_version_form(self.version)

    @classmethod
    def parse(cls, text: str) -> Tag:
        """``"Iris:20260101"``, ``"Iris:latest"`` or ``"Iris"``, which means the latest."""
        name, colon, version = text.partition(":")
        if colon and not version:
            raise UsageError(f"tag {text!r} has no version after the colon: write NAME:VERSION, NAME:latest or NAME")
        return cls(name, version if colon else LATEST)

    @property
    def is_latest(self) -> bool:
        """Whether the newest version is asked for, rather than a named one."""
        return self.version.lower() == LATEST

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


def check_name(name: str) -> str:
    """Any name that may stand in a tag; returned as it is.

    Raises:
        UsageError: not 1 to 63 of the characters A-Z a-z 0-9 . _ - beginning with a letter or a digit.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"name {name!r} cannot stand in a tag: use 1 to 63 letters, digits, '.', '_' or '-', "
            "beginning with a letter or a digit"
        )
    return name


def check_service_name(name: str) -> str:
    """A service's name; returned as it is. It names a folder and a Python package, so it is an identifier as well.

    Raises:
        UsageError: the name is not an ASCII Python identifier that may stand in a tag.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isidentifier():
        raise UsageError(
            f"{name!r} cannot be a service's name: use 1 to 63 letters, digits or '_', beginning with a letter "
            "(rename the class, or set its attribute _bento_service_name)"
        )
    return name


def check_version(version: str) -> str:
    """A version to save under; returned as it is.

    Raises:
        UsageError: "latest", which is not a version but a question, or a form that ``Tag`` refuses.
    """
    _check_version_form(version)
    if version.lower() == LATEST:
        raise UsageError(f"version {version!r} is reserved for asking for the newest one: choose another version")
    return version


def _check_version_form(version: str) -> None:
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise UsageError(f"version {version!r} is malformed: use 1 to 128 letters, digits, '.', '_' or '-'")
    if version.startswith("."):  # "." and ".." would leave the repository, ".x" would be hidden from every listing
        raise UsageError(f"version {version!r} begins with a dot: begin with a letter, a digit, '_' or '-'")
