"""This module is ``svc.artifacts``: the models that one service instance is packed with, by their names."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from typing import Any

from bentobatch.errors import UsageError
from bentobatch.frameworks.base import BentoServiceArtifact


class ArtifactCollection:
    """The artifacts of one service, in the order of their declaration.

    ``svc.artifacts.model`` is the model itself; ``svc.artifacts.get("model")`` or ``["model"]`` is the artifact around
    it, with ``metadata``. Iteration gives the artifacts; ``keys``, ``values`` and ``items`` are those of a dict.
    """

    _slots: dict[str, BentoServiceArtifact]

    def __init__(self, declared: Sequence[BentoServiceArtifact]) -> None:
        self.__dict__["_slots"] = {artifact.name: artifact.fresh() for artifact in declared}

    def __getattr__(self, name: str) -> Any:
        """The native model of the artifact ``name``."""
        slots = self.__dict__.get("_slots", {})
        if name not in slots:
            raise AttributeError(self._unknown(name))
        return slots[name].get()

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a model is put into a service with svc.pack({name!r}, model), not by assignment")

    def __getitem__(self, name: str) -> BentoServiceArtifact:
        if name not in self._slots:
            raise UsageError(self._unknown(name))
        return self._slots[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The artifact ``name``. Unlike a dict's, this get refuses an unknown name unless there is a default.

        Raises:
            UsageError: no artifact of that name is declared; the message lists those that are.
        """
        return self[name] if default is None or name in self._slots else default

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._slots.keys()

    def values(self) -> ValuesView[BentoServiceArtifact]:
        """The artifacts."""
        return self._slots.values()

    def items(self) -> ItemsView[str, BentoServiceArtifact]:
        """Names and artifacts."""
        return self._slots.items()

    def get_artifact_list(self) -> list[BentoServiceArtifact]:
        """The artifacts, as BentoML 0.13 calls them."""
        return list(self._slots.values())

    def not_packed(self) -> list[str]:
        """The names of the artifacts that hold no model yet."""
        return [name for name, artifact in self._slots.items() if not artifact.packed]

    def __contains__(self, name: object) -> bool:
        return name in self._slots

    def __iter__(self) -> Iterator[BentoServiceArtifact]:
        return iter(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._slots]

    def __repr__(self) -> str:
        return f"ArtifactCollection({', '.join(map(repr, self._slots.values()))})"

    def _unknown(self, name: str) -> str:
        declared = ", ".join(self._slots) or "none"
        return f"no artifact is named {name!r}; declared with @artifacts are: {declared}"


RESERVED_ARTIFACT_NAMES = frozenset(name for name in dir(ArtifactCollection) if not name.startswith("__"))
"""Attributes of the collection, behind which a model of that name could not be reached."""
