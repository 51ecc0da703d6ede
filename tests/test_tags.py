"""This module tests tags."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bentobatch.errors import UsageError
from bentobatch.tags import Tag, check_service_name, check_version


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("Iris:20260101120000_AB12CD", "Iris", "20260101120000_AB12CD"),
        ("Iris:latest", "Iris", "latest"),
        ("Iris", "Iris", "latest"),
        ("my-bento.v2:1.0", "my-bento.v2", "1.0"),
        ("a" * 63 + ":" + "b" * 128, "a" * 63, "b" * 128),
    ],
)
def test_a_tag_is_read_and_written_the_same(text: str, name: str, version: str) -> None:
    """NAME:VERSION; a bare name asks for the latest."""
    tag = Tag.parse(text)
    assert (tag.name, tag.version) == (name, version)
    assert str(tag) == f"{name}:{version}"
    assert Tag.parse(str(tag)) == tag


MALFORMED = """,:,Iris:,:1,Iris:1:2,../x:1,Iris:..,Iris:.,Iris:.hidden,Iris:a/b,Iris:a\\b,-x:1,_x:1,.x:1,I ris:1
Iris:%2e%2e,Iris:é,É:1,Iris\\n:1,Iris:1\\n"""


@pytest.mark.parametrize("text", ["a" * 64, "a:" + "b" * 129, *re.split(r"[,\n]", MALFORMED)])
def test_a_tag_that_could_leave_its_folder_is_refused(text: str) -> None:
    """Names and versions become folders: no separators, no leading dots, no control characters, bounded lengths."""
    with pytest.raises(UsageError):
        Tag.parse(text.replace("\\n", "\n"))


@pytest.mark.parametrize("version", ["latest", "LATEST", "Latest"])
def test_latest_can_be_asked_for_but_not_saved(version: str) -> None:
    """It is a question, not a version."""
    assert Tag("Iris", version).is_latest
    with pytest.raises(UsageError, match="reserved"):
        check_version(version)


def test_a_version_in_order_is_given_back() -> None:
    """check_version can be used in an expression."""
    assert check_version("1.0.0-rc_1") == "1.0.0-rc_1"


@pytest.mark.parametrize("name", ["iris-svc", "1Iris", "_Iris", "Iris.v1", "Äris", "", None])
def test_a_service_name_is_an_identifier(name: Any) -> None:
    """It names a folder and a package; the message says where it is set."""
    with pytest.raises(UsageError, match="_bento_service_name"):
        check_service_name(name)


def test_a_class_name_is_a_service_name() -> None:
    """The usual case."""
    assert check_service_name("IrisClassifier2") == "IrisClassifier2"
