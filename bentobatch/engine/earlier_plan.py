"""This module plans what builds on the output that stands: its columns must come out as those that are there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from bentobatch.engine import parts
from bentobatch.engine.earlier import Earlier
from bentobatch.engine.plan import Plan, schema_from_text
from bentobatch.engine.planning import Planner
from bentobatch.errors import DataError, OutputError
from bentobatch.formats.convert import widest


class EarlierPlanner(Planner):
    """A planner that knows the commit that it builds on; None where there is none yet."""

    earlier: Earlier | None = None
    instead = "add to another output"
    """What to do where the columns differ."""

    def build_on(self, earlier: Earlier | None) -> None:
        """Take the commit to build on."""
        self.earlier = earlier
        self.parent = None if earlier is None else earlier.as_parent

    def _earlier_plan(self) -> Plan:
        assert self.earlier is not None
        data = self.store.read(parts.plan_name(self.earlier.plan_id))
        if data is None:
            raise OutputError(
                f"{self.store.uri(parts.plan_name(self.earlier.plan_id))} is gone, which says how {self.place.output} was"
                " made; run again in full with --overwrite"
            )
        return Plan.from_json(json.loads(data))

    def _nothing(self) -> Plan:
        """The plan that stands, without anything to do."""
        return replace(self._earlier_plan(), job=self.job, files=(), sources=(), splits=(), rows=0)

    def _types_before(self) -> dict[str, pa.DataType]:
        """The types of columns that should be read as before, where they can be."""
        if self.earlier is None:
            return {}
        schema = schema_from_text(self.earlier.record["schema"])
        return {field.name: field.type for field in schema}

    def _settled(self, schema: pa.Schema, kept: Sequence[str]) -> pa.Schema:
        """A kept column whose values fit the type that it had before is read as that: a file that holds only whole
        numbers, or only nulls, must not differ from the others."""
        before = self._types_before()
        for index, field in enumerate(schema):
            if field.name in kept and field.name in before:
                type = before[field.name]
                common = widest(field.type, type)
                if common is not None and common.equals(type):
                    schema = schema.set(index, field.with_type(type).with_nullable(True))
        return schema

    def _check_output(self, output: pa.Schema) -> None:
        """Refuse other columns than those that are committed.

        Raises:
            DataError: names the first that differs.
            OutputError: the format differs.
        """
        if self.earlier is None:
            return
        record = self.earlier.record
        if record["format"] != self.place.format:
            raise OutputError(
                f"{self.place.output} holds {record['format']} parts, and this run would write {self.place.format}:"
                f" {self.instead}, or say --output-format {record['format']}"
            )
        before = schema_from_text(record["schema"])
        if output.names != before.names:
            raise DataError(
                f"the output's columns would be {_listed(output)}, but {self.place.output} has {_listed(before)}:"
                f" {self.instead}"
            )
        for new, old in zip(output, before, strict=True):
            if not new.type.equals(old.type):
                raise DataError(
                    f"the output's column {new.name!r} would be of type {new.type}, but it is {old.type} in"
                    f" {self.place.output}: {self.instead}"
                )


def _listed(schema: pa.Schema) -> str:
    return ", ".join(schema.names[:12]) + (", …" if len(schema) > 12 else "")
