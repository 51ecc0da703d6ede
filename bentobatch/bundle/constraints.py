"""This module notes which versions of all libraries a bundle was saved with, for images that shall be built alike for years.

requirements.txt names what the bundle needs itself; what those libraries need in turn is left to pip, which takes the newest.
constraints.txt has the installed version of each of them. It must never make an installation impossible: where a declared
requirement does not fit what is installed here, what depends on it and what it depends on are left out.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bentobatch.bundle.origins import OWN_DISTRIBUTION
from bentobatch.service.environment import distribution_of

_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]*)['"]""")
_SERVER = "server"
"""The extra of bentobatch whose libraries an image has as well."""
_SPECIFIER = re.compile(r"(===|==|~=|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?")
_HEAD = re.compile(r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?")


def constraints(requirements: Sequence[str]) -> list[str]:
    """``name==version`` for each distribution that the lines of a requirements.txt lead to, sorted."""
    here = _Environment()
    needs: dict[str, frozenset[str]] = {}
    declared = [line for line in requirements if line.strip() and not line.lstrip().startswith(("-", "#"))]
    _collect([distribution_of(line) for line in declared], needs, here)
    unfit = {distribution_of(line) for line in declared if not _fits(line, here)} - {OWN_DISTRIBUTION}
    below = _reached(unfit, needs)
    free = {name for name in needs if name in below or _reached({name}, needs) & unfit}
    lines = (_pin(name, here) for name in sorted(needs.keys() - free - {OWN_DISTRIBUTION}))
    return [line for line in lines if line is not None]


@dataclass(frozen=True)
class _Distribution:
    """What is known of an installed one; ``placed``: it came from a place, not by its version from an index."""

    version: str
    requires: tuple[str, ...]
    placed: bool


class _Environment:
    """The installed distributions, each read once."""

    def __init__(self) -> None:
        self._known: dict[str, _Distribution | None] = {}

    def find(self, name: str) -> _Distribution | None:
        """The one of that name, None where it is not installed."""
        if name not in self._known:
            try:
                found = importlib.metadata.distribution(name)
            except (importlib.metadata.PackageNotFoundError, ValueError):
                self._known[name] = None
            else:
                metadata = found.metadata
                self._known[name] = _Distribution(
                    str(metadata["Version"]).partition("+")[0],  # a local part is on no index
                    tuple(metadata.get_all("Requires-Dist") or ()),
                    found.read_text("direct_url.json") is not None,
                )
        return self._known[name]


def _collect(names: Iterable[str], needs: dict[str, frozenset[str]], here: _Environment) -> None:
    """Fill ``needs``: installed distribution -> those that it needs, as far as they are installed."""
    pending = [name for name in names if here.find(name) is not None]
    while pending:
        name = pending.pop()
        if name in needs:
            continue
        found = here.find(name)
        assert found is not None
        wanted = {distribution_of(line) for line in found.requires if _is_wanted(name, line)}
        needs[name] = frozenset(one for one in wanted if here.find(one) is not None)
        pending += needs[name]


def _is_wanted(name: str, requirement: str) -> bool:
    extra = _EXTRA.search(requirement)
    return extra is None or (name == OWN_DISTRIBUTION and extra[1] == _SERVER)


def _reached(names: Iterable[str], needs: dict[str, frozenset[str]]) -> set[str]:
    """``names`` and all that they need, directly or not."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += needs.get(name, ())
    return found


def _fits(requirement: str, here: _Environment) -> bool:
    """Whether the installed version surely is one that the requirement takes; what is not plain numbers is not judged."""
    found = here.find(distribution_of(requirement))
    head = _HEAD.match(requirement)
    rest = requirement[head.end() if head else 0 :].partition(";")[0].strip().strip("()")
    version = "" if found is None else found.version
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
        return False
    for part in filter(None, (part.strip() for part in rest.split(","))):
        match = _SPECIFIER.fullmatch(part)
        if match is None or not _holds(match[1], _numbers(version), _numbers(match[2]), starred=bool(match[3])):
            return False
    return True


def _holds(operator: str, have: list[int], want: list[int], *, starred: bool) -> bool:
    if starred:
        same = have[: len(want)] == want
        return same if operator == "==" else operator == "!=" and not same
    length = max(len(have), len(want))
    left, right = have + [0] * (length - len(have)), want + [0] * (length - len(want))
    if operator == "~=":
        return left >= right and have[: len(want) - 1] == want[:-1]
    return {
        "===": left == right, "==": left == right, "!=": left != right,
        "<=": left <= right, ">=": left >= right, "<": left < right, ">": left > right,
    }[operator]  # fmt: skip


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _pin(name: str, here: _Environment) -> str | None:
    """None for what no index may have in this version."""
    found = here.find(name)
    if found is None or found.placed or not re.fullmatch(r"[A-Za-z0-9.!_-]+", found.version):
        return None
    return f"{name}=={found.version}"
