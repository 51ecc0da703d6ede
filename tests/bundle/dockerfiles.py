"""This module reads a Dockerfile as Docker's own parser does: comments, continued lines, instructions."""

from __future__ import annotations

import json


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
