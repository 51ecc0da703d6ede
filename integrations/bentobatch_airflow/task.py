"""This module is what all bentobatch operators have in common: a clean stop, and errors that Airflow understands."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException

from bentobatch.engine.stop import Stopped
from bentobatch.errors import BentobatchError
from bentobatch_airflow.failures import failure
from bentobatch_airflow.storage import storage_options


class BentoTask(BaseOperator):  # type: ignore[misc] # Airflow is not checked here
    """A task whose work survives it: what was scored is beside the output, and the next try goes on from there.

    ``conn_id`` names the connection with the credentials of the storage; they are read when the task runs.
    """

    def __init__(self, *, conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self._at_work = False

    def storage_options(self) -> dict[str, Any] | None:
        """The connection's credentials, for fsspec."""
        return storage_options(self.conn_id)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Around all that an operator does: here ``on_kill`` may stop it, and errors become Airflow's.

        Raises:
            AirflowFailException: another try would fail as well.
            AirflowException: another try may succeed; it goes on where this one has stopped.
        """
        self._at_work = True
        try:
            yield
        except Stopped as stop:
            raise AirflowException(
                f"stopped by {signal.Signals(stop.signum).name}; another try goes on from the splits that are scored"
            ) from None
        except BentobatchError as error:
            raise failure(error) from error
        finally:
            self._at_work = False

    def on_kill(self) -> None:
        """Called by Airflow in its handler of SIGTERM, in the midst of ``execute``: what is raised here ends the run,
        which then ends its child processes and gives back the lease. After a time-out all that has happened already."""
        if self._at_work:
            self._at_work = False  # a second signal must not disturb the cleaning up
            raise Stopped(signal.SIGTERM)
