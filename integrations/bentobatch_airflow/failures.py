"""This module tells Airflow which errors another try may mend, and which it must not try again."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bentobatch.errors import BentobatchError, LockedError, Retryable, StorageError, UnavailableError

RETRYABLE = (LockedError, Retryable, StorageError, UnavailableError)
"""What the same task may get right later: a service or a disk that comes back, another run that ends."""


def failure(error: BentobatchError) -> AirflowException:
    """The error as Airflow takes it: usage, data and model errors fail the task at once, whatever its retries."""
    kind = AirflowException if isinstance(error, RETRYABLE) else AirflowFailException
    return kind(f"{type(error).__name__}: {error}")
