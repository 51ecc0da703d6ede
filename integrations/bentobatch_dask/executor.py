"""This module is the executor "dask": the splits of a run become tasks of a Dask cluster."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import uuid
from collections.abc import Iterator

from distributed import CancelledError, Client, Future, LocalCluster, Security
from distributed import TimeoutError as DaskTimeoutError
from distributed import client as client_module
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker, NoValidWorkerError
from distributed.utils import silence_logging_cmgr

from bentobatch.engine.crew import Outcome
from bentobatch.engine.remote import KeptPlan, outcome_from_json, score_split
from bentobatch.engine.scheduler import Scheduler
from bentobatch.errors import BentobatchError, MissingDependencyError, UnavailableError, UsageError
from bentobatch_dask.plugin import OpenPlan

_LOG = logging.getLogger("bentobatch")
LOOPBACK = "127.0.0.1"
RETRIES = 2
"""How often Dask itself tries a task again that raised. ``score_split`` returns what the job does wrong as a value, so
what raises is a worker's own trouble, and another worker may do better."""
RESULT_SECONDS = 10.0
"""A result of a few bytes that is not here by then was lost with its worker, and is being computed again."""
_GIVEN_UP = (KilledWorker, NoValidWorkerError, CommClosedError, DaskTimeoutError, ConnectionError, MemoryError)
"""Exceptions of a task that tell of workers, not of the split."""
_CLOSED = ("closed", "closing")
_ClosedClientError: type[Exception] = getattr(client_module, "ClosedClientError", CommClosedError)
"""Which is not there in distributed 2025.1."""


class DaskScheduler(Scheduler):
    """Scores splits on the cluster at ``address`` (such as tcp://host:8786), on that of an open ``client``, or, without
    either, on worker processes of this machine that it starts, lets nobody else reach, and ends.

    ``workers`` is how many processes to start (by default the cores). On a cluster that runs already, it says how many
    splits to count on being scored at a time (by default all threads of the workers that are there): more for a cluster
    that grows with its load, fewer to leave room for others.

    Raises:
        UsageError: both of ``address`` and ``client``, or an asynchronous client.
    """

    name = "dask"

    def __init__(self, workers: int | None = None, *, address: str | None = None, client: Client | None = None) -> None:
        if address is not None and client is not None:
            raise UsageError("give one of address and client, not both: the client knows its scheduler's address")
        if client is not None and client.asynchronous:
            raise UsageError(
                "the Dask client is asynchronous, and a run waits: give Client(address) without asynchronous"
            )
        self.workers = workers
        self.address = address
        self._client = client
        self._owned = contextlib.ExitStack()
        self._is_ours = False
        self._place = ""
        self._plugin: OpenPlan | None = None
        self._keys: Iterator[str] = iter(())
        self._running: dict[int, Future] = {}
        self._ended: queue.SimpleQueue[tuple[int, Future]] = queue.SimpleQueue()

    @property
    def client(self) -> Client:
        """The open client."""
        assert self._client is not None, "open first"
        return self._client

    def open(self, kept: KeptPlan, *, splits: int, split_timeout: float | None) -> int:
        self._kept, self._split_timeout = kept.to_json(), split_timeout
        # a key of its own for each try of each run: Dask would answer a known one with what an earlier try returned
        run = uuid.uuid4().hex[:8]
        self._keys = (f"bentobatch-{kept.plan_id}-{run}-{number}" for number in itertools.count())
        if self._client is None:
            self._client = self._connected(splits) if self.address is None else self._connect(self.address)
        self._place = str(self.address or self._client.scheduler.address)  # a closed client knows it no more
        with _reaching(self._place):
            threads = sum(self.client.nthreads().values())
            self._plugin = OpenPlan(self._kept)
            try:
                self.client.register_plugin(self._plugin)
            except ModuleNotFoundError as error:
                raise self._lacking(error) from error
        if not threads:
            _LOG.warning("the Dask cluster at %s has no workers yet; waiting for them", self._place)
        return threads if self._is_ours else self.workers or max(threads, 1)

    def submit(self, index: int) -> None:
        if self.client.status in _CLOSED:
            raise self._gone()
        try:
            future = self.client.submit(
                score_split,
                self._kept,
                index,
                split_timeout=self._split_timeout,
                key=next(self._keys),
                pure=False,
                retries=RETRIES,
            )
        except _ClosedClientError as error:
            raise self._gone() from error
        self._running[index] = future
        self._listen(index, future)

    def poll(self, timeout: float) -> list[Outcome]:
        if self._running and self.client.status in _CLOSED:
            raise self._gone()
        outcomes: list[Outcome] = []
        while True:
            try:
                index, future = self._ended.get(timeout=timeout) if not outcomes else self._ended.get_nowait()
            except queue.Empty:
                return outcomes
            if self._running.get(index) is not future:
                continue  # of a try that was cancelled
            outcome = self._outcome(index, future)
            if outcome is not None:
                del self._running[index]
                outcomes.append(outcome)

    def cancel(self) -> None:
        futures, self._running = list(self._running.values()), {}
        if futures and self.client.status == "running":
            with _forgiving():
                self.client.cancel(futures)

    def close(self) -> None:
        try:
            self.cancel()
            if self._plugin is not None and self.client.status == "running":
                with _forgiving():
                    self.client.unregister_worker_plugin(self._plugin.name)
            self._plugin = None
        finally:
            self._owned.close()

    def _connect(self, address: str) -> Client:
        """A client of its own, which is not the one that the caller's Dask collections would use. What it would log when
        the scheduler goes away becomes the run's error."""
        self._owned.enter_context(silence_logging_cmgr(logging.CRITICAL))
        with _reaching(address):
            try:
                return self._owned.enter_context(Client(address, set_as_default=False))
            except (ValueError, TypeError) as error:
                raise UsageError(
                    f"{address!r} is no address of a Dask scheduler, such as tcp://host:8786: {_line(error)}"
                ) from error

    def _connected(self, splits: int) -> Client:
        """A client of worker processes on this machine that are reached over loopback, and by who has the key only."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        try:
            security = Security.temporary()
        except ImportError as error:
            raise MissingDependencyError(
                "workers on this machine are reached over TLS, so that no other user can give them tasks, and the library"
                " cryptography is not installed: pip install bentobatch[dask]"
            ) from error
        cluster = LocalCluster(
            n_workers=max(1, min(self.workers or cores, splits)),
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            security=security,
            # models and rows are held by the workers' children, which Dask's limit would not see
            memory_limit=0,
            preload=["bentobatch_dask.quiet"],
            silence_logs=logging.CRITICAL,
        )
        self._owned.enter_context(cluster)
        self._is_ours = True
        return self._owned.enter_context(Client(cluster, set_as_default=False))

    def _gone(self) -> UnavailableError:
        return UnavailableError(
            f"the Dask scheduler at {self._place} went away; start it again, then run the same command, which goes on"
        )

    def _listen(self, index: int, future: Future) -> None:
        ended = self._ended
        future.add_done_callback(lambda done: ended.put((index, done)))

    def _outcome(self, index: int, future: Future) -> Outcome | None:
        """What became of a split; None where its result is on its way after all."""
        lost = future.status
        try:
            if future.status == "finished":
                return outcome_from_json(future.result(timeout=RESULT_SECONDS))
            if future.status == "error":
                return Outcome(index, error=self._error(index, future.exception(timeout=RESULT_SECONDS)))
        except DaskTimeoutError:
            self._listen(index, future)
            return None
        except (CancelledError, CommClosedError) as error:  # the scheduler went away with the result
            lost = _line(error)
        return Outcome(index, error=UnavailableError(f"Dask lost the task of split {index} ({lost})"))

    def _lacking(self, error: ModuleNotFoundError) -> MissingDependencyError:
        return MissingDependencyError(
            f"a worker of the Dask cluster at {self._place} lacks the module {error.name}: install there what is here,"
            " pip install bentobatch[dask]"
        )

    def _error(self, index: int, error: BaseException) -> BentobatchError:
        if isinstance(error, _GIVEN_UP):
            return UnavailableError(f"the Dask cluster gave up split {index} ({_line(error)})")
        if isinstance(error, ModuleNotFoundError):
            return self._lacking(error)
        raise error


@contextlib.contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Turns what connecting to a scheduler raises into one line.

    Raises:
        UnavailableError: it does not answer.
    """
    try:
        yield
    except (OSError, DaskTimeoutError, CommClosedError) as error:
        raise UnavailableError(
            f"the Dask scheduler at {address} does not answer ({_line(error)}): is it running, and is the address right?"
        ) from error


@contextlib.contextmanager
def _forgiving() -> Iterator[None]:
    """For what is tidied up at the end: a cluster that is gone needs no tidying."""
    try:
        yield
    except (OSError, KeyError, DaskTimeoutError, CommClosedError, _ClosedClientError) as error:
        _LOG.debug("the Dask cluster was gone at the end: %s", _line(error))


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
