"""This module is the process that reads the input of a comparison: once, for the workers of both bundles.

It runs no code of a bundle. While the two sides plan, it waits for what both ask and scans each file for both; then it
hands out chunks. It ends with its leader.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from bentobatch import plugins
from bentobatch.comparison.reading import SIDES
from bentobatch.comparison.scans import answer_for, options_of_both
from bentobatch.comparison.stream import Seat
from bentobatch.comparison.streams import PATIENCE, Streams
from bentobatch.engine.chunk_files import file_from_json, options_from_json, plan_from_json, scan_to_json
from bentobatch.engine.groups import format_of
from bentobatch.engine.job import digest_of
from bentobatch.engine.shared_reading import file_identity
from bentobatch.engine.wire import Wire, error_to_json
from bentobatch.errors import BentobatchError, DataError, ModelError
from bentobatch.formats.base import FileScan, InputFile, Range, ScanOptions, UnitFormat
from bentobatch.formats.binary_files import BinaryFilesFormat
from bentobatch.formats.file_groups import Member

LAST = "plans"
"""The matter that planning ends with."""
_Message = dict[str, Any]


class Meetings:
    """Where one side waits for what the other says of the same matter."""

    def __init__(self) -> None:
        self._said: dict[str, dict[str, _Message]] = {}
        self._planned: set[str] = set()
        self._changed = threading.Condition()

    def both(self, matter: str, message: _Message) -> list[_Message]:
        """What both sides say, the old one first. A side may say it again: its planning has begun anew then.

        Raises:
            DataError: the other side has said the last that it had to say, and nothing of this.
        """
        with self._changed:
            said = self._said.setdefault(matter, {})
            said[message["side"]] = message
            if matter == LAST:
                self._planned.add(message["side"])
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(said) == len(SIDES) or self._planned - set(said))
            if len(said) < len(SIDES):
                raise DataError("the two bundles are not planned alike over this input; compare again")
            return [said[side] for side in SIDES]


class Reader:
    """The answers to both sides, and what they share."""

    def __init__(self, folder: Path, storage_options: dict[str, Any] | None, *, patience: float | None) -> None:
        self.storage_options = storage_options
        self.streams = Streams(folder, storage_options, patience=patience)
        self.meetings = Meetings()
        self.shared = False
        self._scans: dict[str, FileScan] = {}
        self._scanning: dict[str, threading.Lock] = {}

    def do_files(self, message: _Message) -> _Message:
        """Whether both read the same files, and may get their chunks from one reading."""
        both = self.meetings.both("files", message)
        same_files, same_wants = (both[0][matter] == both[1][matter] for matter in ("digest", "wants"))
        # rows that depend on each other are to be cut as in a run of their own, which other columns may change
        free = all(one["independent"] for one in both)
        self.shared = same_files and (same_wants or free) and all(map(can_share, both[0]["formats"]))
        return {"shared": self.shared}

    def do_scan(self, message: _Message) -> _Message:
        """One scan of a file, as this side would have made it."""
        file = file_from_json(message["file"])
        options = options_from_json(message["options"])
        matter = f"scan {options.split_rows} {digest_of(file_identity(file))}"
        both = [options_from_json(each["options"]) for each in self.meetings.both(matter, message)]
        with self._scanning.setdefault(matter, threading.Lock()):
            if matter not in self._scans:
                self._scans[matter] = self._scan(file, options_of_both(both))
        return {"scan": scan_to_json(answer_for(options, self._scans[matter], file))}

    def _scan(self, file: InputFile, options: ScanOptions) -> FileScan:
        scan: FileScan = plugins.find("formats", file.format)().scan(file, options, self.storage_options)
        return scan

    def do_cost(self, message: _Message) -> _Message:
        """How many rows a split has for both: as few as the costlier model wants; None where that is not to be changed."""
        both = self.meetings.both("cost", message)
        if not all(one["independent"] for one in both):
            return {"rows": None}
        return {"rows": min(one["rows"] for one in both)}

    def do_plans(self, message: _Message) -> _Message:
        """Take how each side reads; from then on a range is read for both at once."""
        both = self.meetings.both(LAST, message)
        read = [(one["side"], digest_of(plan), plan_from_json(plan)) for one in both for plan in one["plans"]]
        alike = both[0]["cuts"] == both[1]["cuts"]  # else nobody waits for a range that the other side does not have
        readers = {(side, digest) for side, digest, _ in read} if alike else set()
        self.streams.settle({digest: plan for _, digest, plan in read}, readers)
        return {}


class Conversation:
    """One connection of a worker: questions, or the chunks of one range."""

    def __init__(self, reader: Reader, wire: Wire) -> None:
        self.reader = reader
        self.wire = wire
        self._seat: Seat | None = None

    def serve(self) -> None:
        """Answer until the other end is closed."""
        try:
            while (message := self.wire.receive()) is not None:
                self.wire.send(self._answer(message))
        except OSError:
            return  # the worker is gone, which its leader notices
        finally:
            self.wire.close()
            if self._seat is not None:
                self.reader.streams.done(self._seat)

    def _answer(self, message: _Message) -> _Message:
        try:
            if message["do"] == "read":
                return self._read(message)
            if message["do"] == "next":
                return self._next()
            answer: _Message = getattr(self.reader, f"do_{message['do']}")(message)
            return answer
        except BentobatchError as error:
            return {"error": error_to_json(error)}
        except MemoryError as error:
            return {"memory": str(error)}
        except Exception as error:  # noqa: BLE001 - the border between this process and the workers
            return {"error": error_to_json(ModelError(f"{type(error).__name__}: {' '.join(str(error).split())}"))}

    def _read(self, message: _Message) -> _Message:
        if not self.reader.shared:
            return {"apart": True}
        file = file_from_json(message["file"])
        format = format_of(file, {file.uri: tuple(map(Member.from_json, message["members"]))})
        key = digest_of([file_identity(file), message["piece"]])
        who = (message["side"], digest_of(message["plan"]))
        plan = plan_from_json(message["plan"])
        self._seat = self.reader.streams.open(key, who, plan, format, file, Range(*message["piece"]))
        return self._next()

    def _next(self) -> _Message:
        assert self._seat is not None
        chunk = self._seat.next()
        return {"end": True} if chunk is None else {"chunk": chunk}


def can_share(format: str) -> bool:
    """Whether a format keeps what it is asked for two plans apart, as those of this package do, and not what is derived
    from them elsewhere."""
    made = plugins.find("formats", format)()
    return isinstance(made, (UnitFormat, BinaryFilesFormat)) and type(made).__module__.startswith("bentobatch.formats.")


def _end_with_leader() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """The process's entry: a listening socket's descriptor and the folder for chunks; on stdin a line of options,
    and its end when the leader ends."""
    given = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_leader, daemon=True, name="bentobatch-leader").start()
    # a worker with a time limit would be ended for waiting
    reader = Reader(Path(arguments[1]), given["storage_options"] or None, patience=PATIENCE if given["waits"] else None)
    listening = socket.socket(fileno=int(arguments[0]))
    while True:
        end, _ = listening.accept()
        conversation = Conversation(reader, Wire(end))
        threading.Thread(target=conversation.serve, daemon=True, name="bentobatch-side").start()
