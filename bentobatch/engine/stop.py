"""This module names the wish of the outside world that a run should stop now."""

from __future__ import annotations


class Stopped(BaseException):
    """A signal asked the run to stop. Raised from a handler, so it passes every ``except Exception`` on its way."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
