"""This module makes sure that one run at a time works on an output: flock on a local disk, a lease object in a bucket."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bentobatch.engine.objects import Found, objects_of
from bentobatch.engine.place import Place
from bentobatch.engine.store import BucketStore, bucket_errors, is_url, storage_error
from bentobatch.errors import LockedError, StorageError, UsageError

_LOG = logging.getLogger("bentobatch")
STALE_SECONDS = 60.0
RENEWALS = 6
"""A lease is renewed so often in the time after which it would be stale."""
NAME = "lease.json"
LOCK = "lock"
_TRIES = 5


def stale_seconds() -> float:
    """Seconds without renewal after which a lease in a bucket is free: BENTOBATCH_LEASE_SECONDS, or 60. A lease carries
    its owner's number, so that hosts with different settings agree.

    Raises:
        UsageError: the variable holds no positive number.
    """
    text = os.environ.get("BENTOBATCH_LEASE_SECONDS") or str(STALE_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"BENTOBATCH_LEASE_SECONDS takes a number of seconds above 0, not {text!r}")
    return seconds


class Fence(ABC):
    """What stands before a commit: only the run that holds the lease gets through."""

    @abstractmethod
    def check(self) -> None:
        """Raise LockedError if the lease was lost; called right before the commit becomes visible."""


class Lease(Fence):
    """The right to write one output, held from planning to the end of the run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"

    @property
    def lost(self) -> bool:
        """Whether another run has taken the lease, as far as is known without asking."""
        return False

    @abstractmethod
    def release(self) -> None:
        """Give the lease back."""

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class FileLease(Lease):
    """flock on a file in the state folder: it ends with its process, however that dies. Workers do not inherit it."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        path = Path(place.state) / LOCK
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise storage_error("create", path, error) from error
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._handle, 4096, 0)
                os.close(self._handle)
                raise _locked(place, _owner_in(holder)) from None
            if _still_there(self._handle, path):
                break
            os.close(self._handle)  # `bentobatch clean` removed it between the two calls
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps({"owner": self.owner, "renewed": time.time()}).encode(), 0)

    def check(self) -> None:
        """flock cannot be lost while its process lives."""

    def release(self) -> None:
        folder = Path(self.place.state)
        with contextlib.suppress(OSError):  # a folder that is gone, or that somebody has put something into meanwhile
            if os.listdir(folder) == [LOCK]:  # nothing was planned: leave no trace
                os.unlink(folder / LOCK)
                os.rmdir(folder)
        with contextlib.suppress(OSError):  # closing twice is no harm: the lock is gone either way
            os.close(self._handle)


class BucketFence(Fence):
    """The lease object of one owner. Every write of it is on condition that it is still what was read before, so of two
    runs that reach for a stale one, one gets it."""

    def __init__(self, place: Place, owner: str, storage_options: Mapping[str, Any] | None) -> None:
        self.place = place
        self.owner = owner
        store = BucketStore(place.state, storage_options)
        self._objects = objects_of(store.fs)
        self._path = store.path(NAME)
        self._options = storage_options
        self._seconds = stale_seconds()

    def take(self, *, break_lock: bool) -> None:
        """Make the lease this owner's; with ``break_lock`` even one that another run holds."""
        for _ in range(_TRIES):
            held = self._read()
            if held is not None and not (break_lock or _is_free(held)):
                raise _locked(self.place, _owner_in(held.data), held)
            break_lock = False  # for what was seen first, not for a run that takes the lease meanwhile
            self._put(self._record(), instead_of=held)
            # whatever the answer was: a request that is sent again fails where its first try had come through, and a
            # store that knows no conditions says yes to everybody
            held = self._read()
            if held is not None and _owner_in(held.data) == self.owner:
                return
        raise _locked(self.place, "it took the lease a moment ago")

    def renew(self) -> bool:
        """Prove that the lease is held, and hold it from now on; False if it is another's."""
        for _ in range(_TRIES):
            held = self._read()
            if held is None or _owner_in(held.data) != self.owner:
                return False
            # refused where this owner's other process renewed it in between: look again
            if self._put(self._record(), instead_of=held):
                return True
        return False

    def check(self) -> None:
        if not self.renew():
            held = self._read()
            taker = _owner_in(held.data) if held else "bentobatch clean"
            raise LockedError(
                f"{self.place.output}: this run lost its lease to {taker}, because it could not renew it or somebody broke"
                " it; nothing was committed"
            )

    def release(self) -> None:
        """Leave a lease that is free to take; none is ever deleted, since that could hit the next owner's."""
        held = self._read()
        if held is not None and _owner_in(held.data) == self.owner:
            self._put(json.dumps({"released": self.owner}).encode(), instead_of=held)

    def _record(self) -> bytes:
        host = {"owner": self.owner, "renewed": time.time(), "seconds": self._seconds, "process": process_token()}
        return json.dumps(host).encode()

    def _read(self) -> Found | None:
        with bucket_errors("read", self._path, self._options):
            return self._objects.read(self._path)

    def _put(self, data: bytes, *, instead_of: Found | None) -> bool:
        with bucket_errors("write", self._path, self._options):
            return self._objects.put(self._path, data, instead_of=instead_of)


class BucketLease(Lease):
    """An object that is created only if absent, renewed by a thread, and free to take after 60 s without renewal."""

    def __init__(self, place: Place, storage_options: Mapping[str, Any] | None, *, break_lock: bool = False) -> None:
        super().__init__(place)
        self._fence = BucketFence(place, self.owner, storage_options)
        self._lost = False
        self._ended = threading.Event()
        self._fence.take(break_lock=break_lock)
        self._thread = threading.Thread(target=self._renew, name="bentobatch-lease", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        return self._lost

    def _renew(self) -> None:
        while not self._ended.wait(stale_seconds() / RENEWALS):
            try:
                held = self._fence.renew()
            except StorageError as error:
                # not lost before somebody takes it; the fence finds out before anything is committed
                _LOG.warning("the lease on %s was not renewed: %s", self.place.output, error)
                continue
            if not held:
                self._lost = True
                return

    def check(self) -> None:
        self._fence.check()

    def forget(self) -> None:
        """Renew no more, and leave the object to whoever removes the state."""
        self._ended.set()
        self._thread.join()

    def release(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        try:
            self._fence.release()
        except StorageError as error:
            _LOG.warning("the lease was not given back, it is free after %g s: %s", stale_seconds(), error)


def take_lease(place: Place, storage_options: Mapping[str, Any] | None = None, *, break_lock: bool = False) -> Lease:
    """The lease on an output. ``break_lock`` takes one in a bucket from whoever holds it; a local lock ends with its
    process and is never broken.

    Raises:
        LockedError: another run holds it.
    """
    if is_url(place.state):
        return BucketLease(place, storage_options, break_lock=break_lock)
    return FileLease(place)


def fence_for(place: Place, owner: str | None, storage_options: Mapping[str, Any] | None) -> Fence | None:
    """The fence of a lease that another process of this run holds; None where no lease can be lost."""
    return BucketFence(place, owner, storage_options) if owner is not None and is_url(place.state) else None


def _locked(place: Place, owner: str, held: Found | None = None) -> LockedError:
    """The error for a second run."""
    cure = "wait for it to end, or choose another output"
    if held is not None and held.age is not None:
        left = max(1.0, _stale_after(held) - held.age)
        cure = f"wait for it to end; if it is dead, its lease is free in {left:.0f} s, or at once with --break-lock"
    return LockedError(f"{place.output} is being written by another run ({owner}); {cure}")


def _is_free(held: Found) -> bool:
    """Whether a lease was given back, or went stale, or belongs to a process of this machine that is gone."""
    record = _record_in(held.data)
    if "released" in record:
        return True
    age = held.age
    if age is None:
        age = time.time() - float(record.get("renewed") or 0)
    return age >= _stale_after(held) or is_gone(str(record.get("process", "")))


def _stale_after(held: Found) -> float:
    seconds = _record_in(held.data).get("seconds")
    return float(seconds) if isinstance(seconds, (int, float)) else STALE_SECONDS


def _record_in(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _owner_in(data: bytes) -> str:
    return str(_record_in(data).get("owner", "unknown"))


def _still_there(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def process_token() -> str:
    """This process, so that another one of the same machine can see whether it lives: boot, process namespace, id and
    start time. Empty where there is no /proc."""
    return _token(os.getpid(), _machine())


@lru_cache(maxsize=1)
def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _token(pid: int, machine: str) -> str:
    if not machine:
        return ""
    # the command's name, in brackets, may hold spaces; its state and start time are the 1st and 20th field after it
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return f"{machine}/{pid}/{'dead' if fields[0] in 'ZX' else fields[19]}"


def is_gone(token: str) -> bool:
    """Whether the process of a ``process_token`` is known to have ended; False where that cannot be seen from here."""
    machine = _machine()
    if not machine or not token.startswith(f"{machine}/"):
        return False
    try:
        return _token(int(token.split("/")[-2]), machine) != token
    except FileNotFoundError:
        return True
    except (OSError, ValueError, IndexError):
        return False
