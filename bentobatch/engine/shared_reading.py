"""This module lets two jobs read one input through a process that reads it once and hands the rows to the workers of both.

A job's ``reading`` names that process, and which of the two the job is. What crosses the socket is JSON; chunks lie in
Arrow files, which are mapped. Each job still plans for itself: it gets the answers and the chunks that it would have made.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.engine.chunk_files import (
    chunk_from_json,
    file_to_json,
    options_to_json,
    piece_to_json,
    plan_to_json,
    scan_from_json,
)
from bentobatch.engine.job import digest_of
from bentobatch.engine.plan import Plan
from bentobatch.engine.planning import Planner
from bentobatch.engine.split_run import SplitRun
from bentobatch.engine.wire import Wire, error_from_json
from bentobatch.errors import DataError
from bentobatch.formats.base import Chunk, FileScan, Format, InputFile, Range, ReadPlan, ScanOptions
from bentobatch.formats.file_groups import Member
from bentobatch.formats.source import printable

_OWN = threading.local()
"""The connection of each thread for questions that have one answer, by the address that it is to."""


def address_of(path: str, side: str) -> str:
    """What a job's ``reading`` is: the socket's path, and which of the two jobs asks."""
    return f"{path}#{side}"


class Connection:
    """One conversation with the process that reads; the end of it tells that its chunks are not needed any more."""

    def __init__(self, address: str, about: str) -> None:
        path, _, self.side = address.rpartition("#")
        self._about = about
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.connect(path)
        except OSError as error:
            end.close()
            raise self._gone() from error
        self._wire = Wire(end)

    def ask(self, **message: Any) -> dict[str, Any]:
        """The answer to a message.

        Raises:
            BentobatchError: what was raised over there; DataError where that process is gone.
            MemoryError: it was raised over there.
        """
        try:
            self._wire.send({"side": self.side, **message})
            answer = self._wire.receive()
        except OSError as error:
            raise self._gone() from error
        if answer is None:
            raise self._gone()
        if "error" in answer:
            raise error_from_json(answer["error"])
        if "memory" in answer:
            raise MemoryError(answer["memory"])
        return answer

    def _gone(self) -> DataError:
        return DataError(f"reader crashed on {self._about}: the process that reads for both bundles has ended")

    def close(self) -> None:
        """End the conversation."""
        self._wire.close()


def ask(address: str, about: str, **message: Any) -> dict[str, Any]:
    """The answer to one question, over this thread's connection."""
    connections: dict[str, Connection] = vars(_OWN).setdefault("connections", {})
    connection = connections.get(address)
    if connection is None:
        connection = connections[address] = Connection(address, about)
    return connection.ask(**message)


class SharedFormat(Format):
    """A format as the other process reads it; where the two jobs do not read the same, the format itself."""

    name: ClassVar[str] = "shared"
    extensions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, inner: Format, address: str, members: Sequence[Member] = ()) -> None:
        self._inner = inner
        self._address = address
        self._members = [member.to_json() for member in members]

    def scan(self, file: InputFile, options: ScanOptions, storage_options: Mapping[str, Any] | None = None) -> FileScan:
        """See Format."""
        del storage_options  # the other process has them
        answer = ask(
            self._address, printable(file.uri), do="scan", file=file_to_json(file), options=options_to_json(options)
        )
        return scan_from_json(answer["scan"])

    def read(
        self, file: InputFile, piece: Range, plan: ReadPlan, storage_options: Mapping[str, Any] | None = None
    ) -> Iterator[Chunk]:
        """See Format."""
        connection = Connection(self._address, printable(file.uri))
        try:
            answer = connection.ask(
                do="read",
                file=file_to_json(file),
                members=self._members,
                piece=piece_to_json(piece),
                plan=plan_to_json(plan),
            )
            while not answer.get("apart") and not answer.get("end"):
                yield chunk_from_json(answer["chunk"], plan.schema)
                answer = connection.ask(do="next")
        finally:
            connection.close()
        if answer.get("apart"):
            yield from self._inner.read(file, piece, plan, storage_options)


class SharedPlanner(Planner):
    """Plans a job whose input another job reads too: both see one scan of each file, and cut it alike."""

    shared = False

    @property
    def _address(self) -> str:
        assert self.job.reading is not None
        return self.job.reading

    def _files(self) -> list[InputFile]:
        files = super()._files()
        self.doing("the other bundle was being opened")
        answer = ask(
            self._address,
            "the input",
            do="files",
            digest=digest_of([file_identity(file) for file in files]),
            formats=sorted({file.format for file in files}),
            wants=self._wants(),
            independent=self.api.row_independent,
        )
        self.shared = answer["shared"]
        return files

    def _wants(self) -> str:
        """All of the job that tells which columns and types are looked for."""
        types = {name: str(type) for name, type in self._types(self.rule.names or ()).items()}
        return digest_of([self.rule.names, self.rule.rule, self.api.input.lines, types])

    def _format(self, file: InputFile) -> Format:
        format = super()._format(file)
        return SharedFormat(format, self._address) if self.shared else format

    def _kept_cost(self) -> None:
        """None: what a cost comes to is settled with the other job, which may have none that is kept."""

    def _settle_cost(self, *arguments: Any, **named: Any) -> bool:
        fewer = super()._settle_cost(*arguments, **named)
        if not self.shared:
            return fewer
        self.doing("the other bundle scored the first rows")
        answer = ask(self._address, "the input", do="cost", rows=self.split_rows, independent=self.api.row_independent)
        self.split_rows = answer["rows"] or self.job.split_rows
        return self.split_rows != self.job.split_rows

    def plan(self) -> Plan:
        """See Planner."""
        made = super().plan()
        if self.shared:
            plans = [plan_to_json(plan) for plan in reading_of(made)]
            self.doing("the other bundle was being planned")
            ask(self._address, "the input", do="plans", plans=plans, cuts=_cuts_of(made))
        return made


class SharedRun(SplitRun):
    """Scores a split whose chunks come from the process that reads for two jobs."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        assert self.plan.job.reading is not None
        members = self.plan.groups.get(self.file.uri, ())
        self.format = SharedFormat(self.format, self.plan.job.reading, members)


def _cuts_of(plan: Plan) -> str:
    """What tells that two plans read the same ranges of the same files."""
    ranges = [[split.file, *piece_to_json(split.range)] for split in plan.splits]
    return digest_of([[file_identity(file) for file in plan.files], ranges])


def reading_of(plan: Plan) -> list[ReadPlan]:
    """How each split is read: where columns are kept beside each row's text, in two ways."""
    whole = plan.read_plan
    if not plan.lines or not plan.kept:
        return [whole]
    return [
        ReadPlan(
            pa.schema([whole.schema.field(name) for name in names]),
            lines,
            whole.chunk_rows,
            whole.chunk_bytes,
            whole.delimiter,
            whole.nulls,
        )
        for names, lines in ((plan.features, True), (plan.kept, False))
    ]


def file_identity(file: InputFile) -> list[Any]:
    """What tells that two jobs read the same file. One that planning wrote has another path for each; its content tells."""
    uri = "" if file.stamp.startswith("sha256:") else file.uri
    return [uri, file.size, file.stamp, file.format, file.compression, [list(pair) for pair in file.partition]]
