"""This module reads the YAML that BentoML wrote: plain values only, by the rules of YAML 1.2, which its writer followed.

PyYAML knows 1.1, where ``yes`` is a truth value and ``1e-05`` a text. Aliases are read, since BentoML wrote one where the
same object stood in two places; what they unfold to is counted first.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_NODES = 100_000
DEEPEST = 100

_PLAIN: list[tuple[str, str, str]] = [
    ("tag:yaml.org,2002:bool", r"(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (
        "tag:yaml.org,2002:float",
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$", "-+0123456789"),
    ("tag:yaml.org,2002:null", r"(?:~|null|Null|NULL|)$", "~nN\0"),
]
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """A SafeLoader that takes plain words as YAML 1.2 does; times stay as 1.1 has them, as in BentoML's own reader."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way; it is a class attribute there
        first: [pair for pair in pairs if pair[0] == _TIMESTAMP]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _tag, _words, _first in _PLAIN:
    _Loader.add_implicit_resolver(_tag, re.compile(_words), ["" if char == "\0" else char for char in _first])


def read_yaml(text: str) -> Any:
    """The value of the one document in ``text``: dicts, lists, texts, numbers, truth values, dates, bytes and None.

    Raises:
        yaml.YAMLError: it is no YAML, or holds a tag of another kind (Python's own, for one).
        ValueError: it unfolds to more than is sensible, is nested too deep, or holds itself.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):  # before anything recurses
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            raise ValueError("it has a merge key (<<), which BentoML does not write")
    root = yaml.compose(text, Loader=_Loader)
    if root is None:
        return None
    _measure(root, {})
    loader = _Loader("")
    try:
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _measure(node: yaml.Node, known: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """How many nodes and how many levels ``node`` unfolds to, aliases counted as often as they stand."""
    if id(node) in known:
        found = known[id(node)]
        if found is None:
            raise ValueError("a value in it holds itself")
        return found
    known[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = list(node.value)
    elif isinstance(node, yaml.MappingNode):
        inner = [each for pair in node.value for each in pair]
    measured = [_measure(each, known) for each in inner]
    nodes = 1 + sum(count for count, _ in measured)
    levels = 1 + max((level for _, level in measured), default=0)
    if nodes > MOST_NODES or levels > DEEPEST:
        raise ValueError(f"its aliases unfold to more than {MOST_NODES:,} values, or deeper than {DEEPEST} levels")
    known[id(node)] = (nodes, levels)
    return nodes, levels
