"""This module is a worker process: it loads the bundle, plans, scores splits and commits, as its leader asks.

It is started by engine.child.Child and ends with its leader, whichever way that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bentobatch.engine.clocks import Clock
from bentobatch.engine.job import BatchJob
from bentobatch.engine.overhead import collected
from bentobatch.engine.place import place_of
from bentobatch.engine.store import store_at
from bentobatch.engine.wire import Wire, error_to_json
from bentobatch.errors import BentobatchError, ModelError

_PR_SET_PDEATHSIG = 1


class Worker:
    """The process's side of the wire. Splits run on threads; everything else runs in the order it was asked for."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.session: Any = None
        self.pool: ThreadPoolExecutor | None = None

    def serve(self) -> None:
        """Answer until the leader closes its end."""
        while (message := self.wire.receive()) is not None:
            if message["do"] == "split":
                assert self.pool is not None
                self.pool.submit(self._split, message["index"])
            else:
                self._answer(message)

    def _answer(self, message: dict[str, Any]) -> None:
        try:
            result = getattr(self, f"do_{message['do']}")(message)
        except BentobatchError as error:
            self.wire.send({"error": error_to_json(error, traceback.format_exc())})
        except Exception as error:  # noqa: BLE001 - the border between this process and its leader
            failure = ModelError(f"{type(error).__name__}: {' '.join(str(error).split())}")
            self.wire.send({"error": error_to_json(failure, traceback.format_exc())})
        except SystemExit as error:
            failure = ModelError(f"the bundle's code called sys.exit({error.code!r}) while it was loaded")
            self.wire.send({"error": error_to_json(failure, traceback.format_exc())})
        else:
            self.wire.send({"result": result})

    def do_open(self, message: dict[str, Any]) -> None:
        """Load the bundle."""
        # here and not above: these imports take a second, and a leader that only forwards does without them
        from bentobatch.engine.session import Session

        job = BatchJob.from_json(message["job"])
        try:
            self.session = Session(
                job, storage_options=message["storage_options"], model_python=message["model_python"]
            )
        finally:
            resume_collection()

    def do_plan(self, message: dict[str, Any]) -> dict[str, Any]:
        """Make the plan."""

        def doing(what: str) -> None:
            self.wire.send({"doing": what})

        summary = self.session.make_plan(
            restart=message["restart"], keep=message["keep"], doing=doing, probe_deaths=message["probe_deaths"]
        )
        result: dict[str, Any] = summary.to_json()
        return result

    def do_start(self, message: dict[str, Any]) -> None:
        """Get threads ready; take over a plan that another worker made."""
        if message["plan_id"] is not None:
            from bentobatch.engine.session import load_plan  # as in do_open

            job = self.session.job
            store = store_at(place_of(job).state, self.session.storage_options)
            self.session.use_plan(load_plan(message["plan_id"], store))
        self.pool = ThreadPoolExecutor(message["threads"], thread_name_prefix="bentobatch-score")

    def do_commit(self, message: dict[str, Any]) -> dict[str, Any]:
        """Publish the output."""
        result: dict[str, Any] = self.session.commit(message["owner"])
        return result

    def do_write_rejects(self, message: dict[str, Any]) -> None:
        """Publish the rejects so far."""
        self.session.write_rejects(message["owner"])

    def _split(self, index: int) -> None:
        def on_step(start: int, stop: int) -> None:
            self.wire.send({"step": [index, start, stop]})

        def on_file(path: str) -> None:
            self.wire.send({"begin": index, "file": path})

        clock = Clock()
        try:
            plan = self.session.plan
            self.wire.send({"begin": index, "file": plan.label(plan.files[plan.splits[index].file])})
            started = time.perf_counter()
            with collected() as own:
                receipt = self.session.run_split(index, on_step=on_step, on_file=on_file, clock=clock)
            took = time.perf_counter() - started
        except BentobatchError as error:
            answer: dict[str, Any] = {"error": error_to_json(error, traceback.format_exc())}
        except Exception as error:  # noqa: BLE001 - the border between this process and its leader
            failure = ModelError(f"split {index} failed: {type(error).__name__}: {' '.join(str(error).split())}")
            answer = {"error": error_to_json(failure, traceback.format_exc())}
        else:
            answer = {
                "counts": {"rejected": receipt.rejected, "discarded": receipt.discarded},
                "clock": clock.to_json(),
                "took": took,
                "own": own,
            }
        self.wire.send({"split": index, **answer})


class WireHandler(logging.Handler):
    """Log records of the ``bentobatch`` logger go to the leader, who alone knows where they belong."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire

    def emit(self, record: logging.LogRecord) -> None:
        self.wire.send({"log": record.levelno, "text": record.getMessage()})


class WarnOnce:
    """Shows each distinct warning once: libraries that juggle with filters make Python forget what it has shown, and a
    model that warns would then do so for every batch."""

    def __init__(self) -> None:
        self._show = warnings.showwarning
        self._shown: set[tuple[str, str]] = set()

    def __call__(self, message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        key = (str(message), category.__name__)
        if key not in self._shown:
            self._shown.add(key)
            self._show(message, category, *where, **more)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process with its leader (Linux); elsewhere the closed wire does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def end_with_leader(connection: socket.socket) -> None:
    """End this process as soon as its leader's end of the wire is closed, whatever its threads do just then."""
    poller = select.poll()
    poller.register(connection, 0)  # hang-ups are always told
    poller.poll()
    os._exit(0)


_COLLECTION = gc.get_threshold()
_PAUSED = (1_000_000, *_COLLECTION[1:])
"""Garbage of so many objects, if somebody makes it meanwhile, is collected even so."""


def pause_collection() -> None:
    """Collect hardly any cycles while libraries and models are imported: they make many objects and hardly any garbage, and
    looking through all of them again and again takes a twentieth of that time."""
    gc.set_threshold(*_PAUSED)


def resume_collection() -> None:
    """Collect as ever, or as the bundle's own code has settled it."""
    if gc.get_threshold() == _PAUSED:
        gc.set_threshold(*_COLLECTION)


def main(arguments: list[str]) -> None:
    """The process's entry."""
    pause_collection()
    descriptor = int(arguments[0])
    if arguments[1] != "-":  # else the closed wire tells that the leader is gone
        die_with_parent(int(arguments[1]))
    # what the user's code prints must not mix with the leader's output
    os.dup2(2, 1)
    warnings.showwarning = WarnOnce()
    connection = socket.socket(fileno=descriptor)
    threading.Thread(target=end_with_leader, args=(connection,), daemon=True, name="bentobatch-leader").start()
    wire = Wire(connection)
    # what every message needs takes half a second to import: it is done while the leader is still busy
    importlib.import_module("bentobatch.engine.session")
    logger = logging.getLogger("bentobatch")
    logger.addHandler(WireHandler(wire))
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with contextlib.suppress(BrokenPipeError):  # the leader is gone, and with it everybody who could be told
        Worker(wire).serve()
    # threads of the user's libraries must not keep a process alive that nobody waits for
    os._exit(0)
