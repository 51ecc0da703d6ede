"""Tests of bentobatch.cli.text."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from bentobatch.cli.text import printable, printable_values


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    """Whatever a message holds, it is one line that can be encoded and moves no cursor."""
    line = printable(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_file_name_can_be_shown(name: bytes) -> None:
    """A file name is bytes; those that are no UTF-8 are shown as escapes."""
    assert printable(os.fsdecode(name)).isprintable()


def test_an_undecodable_byte_is_shown_as_its_escape() -> None:
    """The user must recognise the name."""
    assert printable(os.fsdecode(b"bad\xffutf8.parquet")) == r"bad\xffutf8.parquet"


def test_line_breaks_collapse_and_control_characters_are_escaped() -> None:
    """A name with a newline or an escape sequence cannot fake a second line or a colour."""
    assert printable("one\n  two\x1b[31m\u202e") == "one two\\x1b[31m\\u202e"


def test_values_are_made_printable_at_every_depth() -> None:
    """Reports hold lists and mappings of texts; numbers and nulls stay as they are."""
    assert printable_values({"a\n": ["\x00", ("b", 1, None)], "c": 1.5}) == {"a": ["\\x00", ["b", 1, None]], "c": 1.5}
