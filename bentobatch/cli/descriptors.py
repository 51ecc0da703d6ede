"""This module opens the standard descriptors that a caller closed."""

from __future__ import annotations

import os


def fill_missing_descriptors() -> None:
    """Open /dev/null for each of the descriptors 0, 1 and 2 that the caller closed, lest a data file gets its number
    and somebody's print lands in it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is ``fd``
