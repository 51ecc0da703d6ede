"""This module holds every error that bentobatch raises on purpose, one class for each exit code.

A message says what happened, to which thing, and what to do about it, in one line.
The command line turns ``exit_code`` into the status of the process; see README, "Exit codes".
"""

from __future__ import annotations

from typing import ClassVar


class BentobatchError(Exception):
    """Base of all errors that bentobatch raises on purpose. ``exit_code`` is what the command line exits with.

    ``travels``: it can be made again of its message alone, so that one process may report it to another.
    """

    exit_code: ClassVar[int] = 70
    travels: ClassVar[bool] = True


class UsageError(BentobatchError):
    """The caller asked for something that makes no sense; nothing was done (exit 2)."""

    exit_code = 2


class MissingDependencyError(UsageError):
    """A library that this feature needs is not installed; the message names the extra to install (exit 2)."""


class DataError(BentobatchError):
    """An input file or a bundle is broken, or does not have the columns or types that the api takes (exit 65)."""

    exit_code = 65


class BundleError(DataError):
    """A bundle cannot be read, was changed after it was saved, or its code cannot be loaded (exit 65)."""


class PolicyError(BundleError):
    """The policy of this machine does not let the bundle be run here; nothing of it was (exit 65)."""


class NoInputError(BentobatchError):
    """No input file, or no bundle, of that name exists (exit 66)."""

    exit_code = 66


class UnavailableError(BentobatchError):
    """A service that the job needs did not answer, after retries; the same command may work later (exit 69)."""

    exit_code = 69


class OverloadedError(UnavailableError):
    """More is waiting than can be answered in time, so this request was not taken; try again later (exit 69).

    ``retry_after``: seconds after which there will be room, as far as one can tell now.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(UnavailableError):
    """A request's deadline passed before it was its turn; nothing was scored for it (exit 69)."""


class Retryable(BentobatchError):  # noqa: N818 - the public name that users raise, as documented
    """Raised by the user's api function: this failure is not the row's fault, try the split again later (exit 69)."""

    exit_code = 69


class ModelError(BentobatchError):
    """The user's api function broke its contract: wrong length, other type, exit, crash, or every row fails (exit 70)."""

    exit_code = 70


class TooManyRejectsError(BentobatchError):
    """More rows were rejected or discarded than the limits allow; the parts are kept (exit 71)."""

    exit_code = 71


class ExpectationError(BentobatchError):
    """The output is not as expected (--expect); it was not committed, and the parts are kept (exit 71)."""

    exit_code = 71


class TooManyChangesError(BentobatchError):
    """More rows changed between two bundles than --max-changed allows; nothing else is wrong (exit 1)."""

    exit_code = 1


class OutputError(BentobatchError):
    """The output cannot be created where it was asked for (exit 73)."""

    exit_code = 73


class ConflictError(OutputError):
    """The repository holds another bundle under that tag; nothing was changed (exit 73)."""


class StorageError(BentobatchError):
    """Reading or writing failed underneath: a full disk, a truncated stream, a network (exit 74)."""

    exit_code = 74


class LockedError(BentobatchError):
    """Another run works on this output (exit 75)."""

    exit_code = 75


def error_classes() -> dict[str, type[BentobatchError]]:
    """Every error class that travels, by its name, so that a worker process can report one as plain text."""
    found: dict[str, type[BentobatchError]] = {}
    pending: list[type[BentobatchError]] = [BentobatchError]
    while pending:
        cls = pending.pop()
        if cls.travels:
            found[cls.__name__] = cls
        pending.extend(cls.__subclasses__())
    return found
