"""This module spells labels, the keys and values that a saved bundle carries, and selectors, which ask for bundles by them.

A selector is a list of requirements with commas between them, which all must hold::

    framework=pytorch, cicd_result!=failed, platform In (lambda, azure), cohort Exists, retired DoesNotExist

They mean what they mean in Kubernetes: ``!=`` and ``NotIn`` hold for what lacks the key, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bentobatch.errors import UsageError

Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]

MOST_CHARACTERS = 63
_WORD = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(_WORD)
_EQUALITY = re.compile(r"(?P<key>[^\s=!(),]+)\s*(?P<operator>!?=)\s*(?P<value>[^\s=!(),]+)")
_SET = re.compile(r"(?P<key>[^\s=!(),]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)", re.IGNORECASE)
_PRESENCE = re.compile(r"(?P<key>[^\s=!(),]+)(?:\s+(?P<operator>exists|doesnotexist))?", re.IGNORECASE)
_LONGEST_SELECTOR = 10_000
_GRAMMAR = (
    "key=value, key!=value, key In (a, b), key NotIn (a, b), key Exists or key DoesNotExist, with commas between them"
)


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """``labels`` as a dict of its own.

    Raises:
        UsageError: a key or a value is no text of 1 to 63 letters, digits, '-', '_' and '.' that begins and ends with a
            letter or a digit.
    """
    for key, value in labels.items():
        if not all(isinstance(text, str) and _LABEL.fullmatch(text) for text in (key, value)):
            raise UsageError(
                f"label {key!r}: {value!r} is malformed: use 1 to 63 letters, digits, '-', '_' or '.' for the key and "
                "the value, beginning and ending with a letter or a digit"
            )
    return dict(labels)


def check_key(key: str) -> str:
    """``key`` itself, when a label may have it.

    Raises: UsageError, as ``check_labels``.
    """
    check_labels({key: "value"})
    return key


@dataclass(frozen=True)
class Requirement:
    """One condition on one key. ``values`` is empty for Exists and DoesNotExist, else sorted and without repetitions."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for something with these labels."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        return (labels.get(self.key) in self.values) == (self.operator == "In")

    def __str__(self) -> str:
        values = f" ({', '.join(self.values)})" if self.values else ""
        return f"{self.key} {self.operator}{values}"


@dataclass(frozen=True)
class Selector:
    """Requirements that must all hold; without any, everything matches. Its text is a selector that parses to it again."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Selector:
        """The selector that ``text`` spells. The operators' case does not matter, that of keys and values does.

        An empty text is the selector that matches everything; a key alone means Exists.

        Raises:
            UsageError: the text is no selector; the message shows the part and the grammar.
        """
        if not text.strip():
            return cls()
        if len(text) > _LONGEST_SELECTOR:
            raise UsageError(f"a label selector of {len(text):,} characters is too long: {_LONGEST_SELECTOR:,} at most")
        return cls(tuple(_requirement(part.strip(), text) for part in _parts(text)))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether everything that is asked for holds."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ", ".join(map(str, self.requirements))


def _parts(text: str) -> Iterator[str]:
    """The requirements: a comma within parentheses parts values, any other parts requirements."""
    part: list[str] = []
    for piece in re.split(r"([,()])", text):
        if piece == "," and part.count("(") <= part.count(")"):
            yield "".join(part)
            part = []
        else:
            part.append(piece)
    yield "".join(part)


def _requirement(part: str, text: str) -> Requirement:
    if match := _EQUALITY.fullmatch(part):
        values = [match["value"]]
        operator: Operator = "In" if match["operator"] == "=" else "NotIn"
    elif match := _SET.fullmatch(part):
        values = [value.strip() for value in match["values"].split(",")]
        operator = "In" if match["operator"].lower() == "in" else "NotIn"
    elif match := _PRESENCE.fullmatch(part):
        values = []
        operator = "Exists" if (match["operator"] or "exists").lower() == "exists" else "DoesNotExist"
    else:
        what = f"has {part[:80]!r} in it" if part else "has an empty part"
        raise UsageError(f"the label selector {text[:200]!r} {what}: write {_GRAMMAR}")
    for word in (match["key"], *values):
        if not _LABEL.fullmatch(word):
            raise UsageError(
                f"the label selector {text[:200]!r} asks for {word[:80]!r}, which no label can be: labels have 1 to 63 "
                "letters, digits, '-', '_' or '.', beginning and ending with a letter or a digit"
            )
    return Requirement(match["key"], operator, tuple(sorted(set(values))))
