"""This module makes a staged file or finished parts the visible output in a bucket, and tells whether one still stands.

A single file appears with one PUT, or with the completion of one multipart upload. A directory appears with ``_SUCCESS``,
which names its parts; they were copied under names that carry the plan's id, and what it does not name goes afterwards.
Both are written on condition that what stood there when the commit began still does, and right before it the lease is
proved, so that a run that was thought dead cannot replace the output of the one that took over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bentobatch.engine.objects import Found, objects_of
from bentobatch.engine.place import Place
from bentobatch.engine.store import BucketStore, LocalStore, Store, bucket, bucket_errors, remove_objects
from bentobatch.errors import LockedError, OutputError

SUCCESS = "_SUCCESS"
_COPIERS = 8
_OUR_PART = re.compile(r"part-[0-9]+-[0-9a-f]{16}\.[a-z]+")


class BucketOutput:
    """The output of one place in a bucket."""

    def __init__(self, place: Place, storage_options: Mapping[str, Any] | None = None) -> None:
        self.place = place
        self.options = storage_options
        self.fs, self.root = bucket(place.output, storage_options)
        self.objects = objects_of(self.fs)

    @property
    def key(self) -> str:
        """The object whose appearance is the commit."""
        return self.root if self.place.single else f"{self.root}/{SUCCESS}"

    def seen(self) -> Found | None:
        """What stands there now, for the condition of ``publish_*``."""
        with bucket_errors("look at", self.place.output, self.options):
            return self.objects.look(self.key)

    def check(self, *, overwrite: bool, own_plans: Callable[[], Sequence[str]]) -> None:
        """Refuse an output that cannot be made. ``own_plans`` are the ids of the plans whose state is kept: parts that a
        killed commit of theirs has left are no obstacle.

        Raises:
            OutputError: it exists and ``overwrite`` is off, or other objects stand where parts would.
        """
        if not overwrite and self.seen() is not None:
            raise OutputError(
                f"{self.place.output} exists already; --overwrite replaces it once the new output is whole"
            )
        if self.place.single:
            return
        for name in self.names():
            if name.startswith(("_", ".")):
                continue
            if "/" in name or not name.startswith("part-"):
                raise OutputError(
                    f"{self.place.output} holds other objects, such as {name}, which a reader would mix with the output:"
                    " choose another prefix, or remove them"
                )
            if not overwrite and not (_OUR_PART.fullmatch(name) and _plan_in(name) in own_plans()):
                raise OutputError(
                    f"{self.place.output} holds parts of another origin, such as {name}; --overwrite replaces them once"
                    " the new output is whole"
                )

    def names(self) -> dict[str, int]:
        """The objects below a directory output, by their names below it, and their sizes."""
        with bucket_errors("list", self.place.output, self.options):
            self.fs.invalidate_cache()
            try:
                found = self.fs.find(self.root, detail=True)
            except FileNotFoundError:
                return {}
        cut = len(self.root) + 1
        return {path[cut:]: int(info.get("size") or 0) for path, info in found.items() if len(path) > cut}

    def identity(self) -> Any:
        """What tells the output from any other; None if there is none."""
        with bucket_errors("look at", self.place.output, self.options):
            found = self.objects.look(self.root) if self.place.single else self.objects.read(self.key)
        if found is None:
            return None
        if self.place.single:
            return mark_identity(found.mark) if found.mark else [found.size, found.tag]
        try:
            listed = json.loads(found.data)["parts"]
        except (ValueError, KeyError, TypeError):
            return None
        sizes = self.names()
        return directory_identity(found.data, [sizes.get(name, -1) for name in listed])

    # -- publishing

    def publish_file(self, staged: Path, *, seen: Found | None, mark: str, fence: Callable[[], None]) -> None:
        """Put a single file in place."""
        with bucket_errors("write", self.place.output, self.options):
            done = self.objects.upload(staged, self.root, instead_of=seen, mark=mark, fence=fence)
        if not done:
            raise self._overtaken()

    def publish_parts(
        self, store: Store, parts: Mapping[str, str], success: bytes, *, seen: Found | None, fence: Callable[[], None]
    ) -> None:
        """Copy parts (state name by output name), then commit them with ``success``."""
        self._copy_parts(store, parts)
        fence()
        with bucket_errors("write", self.place.output, self.options):
            done = self.objects.put(self.key, success, instead_of=seen)
            if not done:
                found = self.objects.read(self.key)
                # an unanswered request that is sent again fails where its first try had come through
                if found is None or found.data != success:
                    raise self._overtaken()

    def remove_parts(self, names: Sequence[str]) -> None:
        """Remove parts that are not of the output."""
        with bucket_errors("delete", self.place.output, self.options):
            for name in names:
                if _is_part(name):
                    remove_objects(self.fs, f"{self.root}/{name}")

    def stale(self, names: Sequence[str]) -> list[str]:
        """The parts that stand there now and that an output of ``names`` will not name."""
        return sorted(name for name in self.names() if _is_part(name) and name not in set(names))

    def remove_unnamed(self) -> list[str]:
        """Remove the parts of our making that ``_SUCCESS`` does not name (all of them, if there is none); their names."""
        with bucket_errors("look at", self.place.output, self.options):
            found = self.objects.read(self.key)
        named: set[str] = set()
        if found is not None:
            try:
                named = set(json.loads(found.data)["parts"])
            except (ValueError, KeyError, TypeError):
                return []  # somebody else's: what it stands for is not known
        stale = [name for name in self.names() if name not in named and _OUR_PART.fullmatch(name)]
        self.remove_parts(stale)
        return stale

    def end_uploads(self) -> int:
        """End uploads into the output that were never completed; how many."""
        with bucket_errors("list uploads to", self.place.output, self.options):
            return self.objects.end_uploads(self.root if self.place.single else f"{self.root}/")

    def _copy_parts(self, store: Store, parts: Mapping[str, str]) -> None:
        def copy(item: tuple[str, str]) -> None:
            name, source = item
            with bucket_errors("write", f"{self.place.output}/{name}", self.options):
                if isinstance(store, BucketStore):
                    self.fs.cp_file(store.path(source), f"{self.root}/{name}")
                else:
                    assert isinstance(store, LocalStore)
                    self.fs.put_file(str(store.path(source)), f"{self.root}/{name}")

        with ThreadPoolExecutor(_COPIERS, thread_name_prefix="bentobatch-copy") as pool:
            for _ in pool.map(copy, parts.items()):
                pass

    def _overtaken(self) -> LockedError:
        return LockedError(
            f"{self.place.output} was changed by another run while this one committed; nothing was replaced, run the same"
            " command again"
        )


def directory_identity(success: bytes, sizes: Sequence[int]) -> Any:
    """The identity of a directory output with this ``_SUCCESS`` and parts of these sizes."""
    return ["directory", success.decode(errors="replace"), list(sizes)]


def mark_identity(mark: str) -> Any:
    """The identity of a single file that carries the mark of its commit."""
    return ["file", mark]


def _is_part(name: str) -> bool:
    return name.startswith("part-") and "/" not in name


def _plan_in(name: str) -> str:
    return name.rpartition(".")[0].rpartition("-")[2]
