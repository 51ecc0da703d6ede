"""This module adds to an output directory what no earlier commit there holds (--only-new).

A file is known by its path, size and stamp, whatever bundle scored it. One that changed takes the place of its old
parts; one that is gone from the input keeps its rows. Old parts are not copied: the new directory links them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bentobatch.engine import parts
from bentobatch.engine.commits import Commit
from bentobatch.engine.earlier import Earlier, HeldFile, HeldPart, standing, standing_or_nothing
from bentobatch.engine.earlier_plan import EarlierPlanner
from bentobatch.engine.listings import Found, held_files, is_new
from bentobatch.engine.parts import Receipt
from bentobatch.engine.plan import Plan
from bentobatch.errors import OutputError, UsageError
from bentobatch.formats.base import FileScan, InputFile
from bentobatch.formats.file_groups import Member
from bentobatch.formats.source import printable


class OnlyNewPlanner(EarlierPlanner):
    """Plans the files that the standing output does not hold."""

    instead = "add to another directory, or score all files anew with --overwrite instead of --only-new"

    def plan(self) -> Plan:
        if self.place.single:
            raise UsageError(
                f"--only-new adds parts to a directory, and {self.place.output} is one file: give a directory as output"
            )
        self.build_on(standing_or_nothing(self.place, self.store, self.storage_options))
        return super().plan()

    def _wanted(self, found: list[InputFile]) -> list[InputFile]:
        if self.earlier is None:
            return found
        held = {file.source for file in self.earlier.files}
        members = [Member.from_json(values) for file in self.earlier.files for values in file.members]
        grouped = {member.file.uri: member.file for member in members}
        for file in found:
            known = grouped.get(file.uri)
            if known is not None and (known.size, known.stamp) != (file.size, file.stamp):
                raise UsageError(
                    f"{printable(file.uri)} changed since the output scored it, and its rows stand in a part with those of"
                    f" other files, so --only-new cannot replace it: {self.instead}"
                )
        return [file for file in found if file.uri not in grouped and (file.uri, file.size, file.stamp) not in held]

    def _shared(
        self, files: Sequence[InputFile], scans: Sequence[FileScan], beside: Sequence[str]
    ) -> tuple[list[InputFile], list[FileScan]]:
        """Each file keeps parts of its own, so that another night can replace them."""
        del beside
        return list(files), list(scans)

    def _wanted_files(self, found: Found) -> Found:
        if self.earlier is None:
            return found
        held = held_files([file.file for file in self.earlier.files], self.storage_options)
        return {name: [file for file in files if is_new(file, held, self.instead)] for name, files in found.items()}


class OnlyNewCommit(Commit):
    """The commit of new parts beside those that are there. ``plan.parent`` names the commit that it builds on."""

    _known: Earlier | None = None

    @property
    def earlier(self) -> Earlier:
        """The commit that this one builds on."""
        if self._known is None:
            assert self.plan.parent is not None
            found = standing(self.place, self.store, self.storage_options)
            if found is None or found.plan_id != self.plan.parent["plan_id"]:
                raise OutputError(
                    f"{self.place.output} was changed since this plan was made; run the same command again, what is"
                    " scored is kept"
                )
            self._known = found
        return self._known

    def _files(self) -> list[HeldFile]:
        """The held files that stay."""
        new = {source[0] for source in self.plan.sources} or {file.uri for file in self.plan.files}
        return [file for file in self.earlier.files if file.source[0] not in new]

    def _held(self) -> list[HeldPart]:
        return [part for file in self._files() for part in file.parts]

    @property
    def rows(self) -> int:
        return self._held_rows() + self.plan.rows

    def _held_rows(self) -> int:
        return sum(part.rows for part in self._held())

    def _check_place(self) -> None:
        """The output may stand, if it is the one that this plan was made for; ``earlier`` sees to that."""
        if not self.earlier.still_stands(self.place, self.storage_options):
            self._known = None
            _ = self.earlier

    def _staying(self) -> list[str]:
        return [part.name for part in self._held()]

    def _part_names(self) -> list[str]:
        """Numbers go on where those of the standing parts end, so that names sort as rows do."""
        staying = self._staying()
        if not staying and not self.plan.splits:
            return self._own_names(1)
        first = 1 + max((int(name.split("-")[1]) for name in staying), default=-1)
        return [*staying, *self._own_names(len(self.plan.splits), first)]

    def _counted(self, receipts: list[Receipt]) -> list[dict[str, Any]]:
        return [*(dict(part.columns) for part in self._held()), *super()._counted(receipts)]

    def _check_expectations(self, receipts: list[Receipt], rejected: int, discarded: int) -> None:
        """Expectations speak of the whole output."""
        held = self._held()
        rejected += sum(part.entry[2] for part in held)
        super()._check_expectations(receipts, rejected, discarded + sum(part.entry[3] for part in held))

    def _rejects(self, receipts: Mapping[int, Receipt]) -> list[tuple[str, int]]:
        """Those of the parts that stay, at the rows where they will be; then the new ones."""
        pieces: list[tuple[str, int]] = []
        row = 0
        for part in self._held():
            if part.has_rejects:
                pieces.append((parts.rejects_name(self.earlier.plan_id, part.key), row))
            row += part.rows
        return [*pieces, *((name, first + row) for name, first in super()._rejects(receipts))]

    def _with_earlier(self, record: dict[str, Any]) -> dict[str, Any]:
        files, held = self._files(), self._held()
        for part in held:
            if part.has_rejects:  # their folder goes with the parent's plan
                name = parts.rejects_name(self.plan.plan_id, part.key)
                self.store.copy(parts.rejects_name(self.earlier.plan_id, part.key), name)
        listed = [file.to_json() for file in files]
        return {
            **record,
            "rejected": record["rejected"] + sum(part.entry[2] for part in held),
            "discarded": record["discarded"] + sum(part.entry[3] for part in held),
            "rows_held": self._held_rows(),
            "parts": [*(list(part.entry) for part in held), *record["parts"]],
            "columns": [*(dict(part.columns) for part in held), *record["columns"]],
            "files": [*listed, *record["files"]],
        }
