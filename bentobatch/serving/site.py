"""This module is the state of one server process: whether its service is loaded, and whether it is about to stop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from bentobatch.errors import BentobatchError, UnavailableError
from bentobatch.serving.exchange import ServedService
from bentobatch.serving.options import ServingOptions

_log = logging.getLogger("bentobatch.serving")


class Site:
    """Holds the served service once it is there. ``load``: what makes it; called at once, or on a thread of its own where
    ``in_background``, so that the server answers for its health meanwhile; ``loaded`` is called when it is there.

    Raises: what ``load`` raises, unless it is called in the background; then ``served`` raises UnavailableError for good.
    """

    def __init__(
        self,
        load: Callable[[], ServedService],
        options: ServingOptions,
        *,
        in_background: bool = False,
        loaded: Callable[[], object] = lambda: None,
    ) -> None:
        self.options = options
        self._load = load
        self._loaded = loaded
        self._served: ServedService | None = None
        self._failure = ""
        self._stopping = False
        if in_background:
            threading.Thread(target=self._load_or_tell, name="bentobatch-load", daemon=True).start()
        else:
            self._served = load()
            loaded()

    def _load_or_tell(self) -> None:
        try:
            self._served = self._load()
        except BentobatchError as error:
            _log.error("the bundle could not be loaded: %s", error)
            self._failure = str(error)
        except Exception:  # noqa: BLE001 - a bundle's code may raise anything, and this thread tells nobody
            _log.exception("the bundle could not be loaded")
            self._failure = "unexpected error"
        else:
            self._loaded()

    @property
    def served(self) -> ServedService:
        """The service.

        Raises:
            UnavailableError: it is not loaded yet, or could not be.
        """
        if self._served is None:
            raise self.why_not
        return self._served

    @property
    def why_not(self) -> UnavailableError:
        """Why there is no service."""
        if self._failure:
            return UnavailableError("the bundle could not be loaded; the server's log tells why")
        return UnavailableError("the bundle is being loaded; try again in a moment")

    @property
    def is_loaded(self) -> bool:
        """Whether ``served`` is there."""
        return self._served is not None

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self._served is not None and not self._stopping and not self._served.draining

    def drain(self) -> None:
        """Be not ready any more; what comes is still answered."""
        self._stopping = True
