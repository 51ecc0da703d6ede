"""This module makes any text fit for one line of a terminal or a log."""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    """``text`` in one line: runs of white space become one space, what a terminal would obey or cannot show is escaped.

    File names may hold bytes that are no UTF-8 (lone surrogates in Python) and control characters: both are shown as
    backslash escapes, so that a name can neither break a line nor move the cursor.
    """
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else _escaped(char) for char in " ".join(shown.split()))


def printable_values(value: Any) -> Any:
    """``value`` (of JSON types) with every text in it made printable; lists and mappings are copied."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(str(key)): printable_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_values(item) for item in value]
    return value


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
