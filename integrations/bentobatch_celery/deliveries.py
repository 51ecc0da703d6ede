"""This module keeps a split from being scored twice at a time, and from ending worker after worker for ever.

A broker delivers a task again when its worker is lost, and some (Redis) also when it takes long. Beside the output stands
which process works on what, proves every few seconds that it lives, and how many have not come back.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from bentobatch.engine.lease import RENEWALS, is_gone, process_token, stale_seconds
from bentobatch.errors import ModelError, StorageError
from bentobatch_celery.state import JobState

_LOG = logging.getLogger("bentobatch")
MOST_LOST = 5
"""So many workers may be lost in the middle of one split. What the model does to its own process is not counted here: that
is a child of the worker, and its deaths are counted and bisected as everywhere."""


class BusyError(Exception):
    """Another delivery of the same task works on this, as far as one can see. ``seconds``: after which to look again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass
class Delivery:
    """``lost`` counts deliveries that began and did not end, the one that works now included. ``beat`` is when that one
    was seen alive last (time.time()), ``process`` who it is, where that can be told. ``sent`` holds which messages have
    been sent after this split."""

    lost: int = 0
    beat: float = 0.0
    process: str = ""
    working: bool = False
    sent: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether somebody seems to be at work; other hosts' clocks are taken to be right within half a minute."""
        return self.working and time.time() - self.beat < stale_seconds() and not is_gone(self.process)


def delivery_of(state: JobState, what: str) -> Delivery:
    """The deliveries of a split (by its key) or of the commit."""
    data = state.read("deliveries", what)
    return Delivery() if data is None else Delivery(**data)


@contextlib.contextmanager
def working_on(state: JobState, what: str, *, told: str) -> Iterator[None]:
    """Work on a split or on the commit; ``told`` is what to call it.

    Raises:
        BusyError: somebody else does so.
        ModelError: too many workers were lost doing so.
    """
    delivery = delivery_of(state, what)
    if delivery.works:
        raise BusyError(stale_seconds() / RENEWALS)
    if delivery.lost >= MOST_LOST:
        raise ModelError(
            f"{told}: {delivery.lost} Celery workers were lost in the middle of it (SIGKILL, out of memory?), so it is not"
            " tried again; give the workers more memory, or make smaller splits, and submit the job again"
        )
    if delivery.lost:
        _LOG.warning("%s: %d workers were lost in the middle of it before", told, delivery.lost)
    delivery.lost += 1
    delivery.working, delivery.process = True, process_token()
    _write(state, what, delivery)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(state, what, delivery, ended), daemon=True, name="bentobatch-beat")
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        delivery.lost, delivery.working, delivery.process = delivery.lost - 1, False, ""
        _write(state, what, delivery)


def note_sent(state: JobState, what: str, message: str) -> None:
    """Remember that ``message`` was sent after ``what``, for another delivery of the same task."""
    delivery = delivery_of(state, what)
    delivery.sent.append(message)
    state.write(asdict(delivery), "deliveries", what)


def _beat(state: JobState, what: str, delivery: Delivery, ended: threading.Event) -> None:
    while not ended.wait(stale_seconds() / RENEWALS):
        try:
            _write(state, what, delivery)
        except StorageError as error:  # the worst that may come of it is that a split is scored twice
            _LOG.warning("%s", error)


def _write(state: JobState, what: str, delivery: Delivery) -> None:
    delivery.beat = time.time()
    state.write(asdict(delivery), "deliveries", what)
