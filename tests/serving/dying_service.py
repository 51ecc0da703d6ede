"""The service that the tests of the production server serve: what its api does to its process depends on the request."""

import os
import threading
import time

import bentobatch
from bentobatch.adapters import JsonInput
from bentobatch.frameworks.pickle import PickleArtifact

LOADED_BY = os.getpid()
LOADED_AT = time.time()


@bentobatch.artifacts([PickleArtifact("nothing")])
class DyingService(bentobatch.BentoService):
    """Obeys."""

    @bentobatch.api(input=JsonInput(), batch=True)
    def predict(self, orders):
        """Where and by whom it runs; before that it sleeps or dies, if told so."""
        time.sleep(max(order.get("sleep", 0) for order in orders))
        if any("exit" in order for order in orders):
            os._exit(3)
        told = {"pid": os.getpid(), "loaded_by": LOADED_BY, "loaded_at": LOADED_AT}
        return [{**told, "thread": threading.current_thread().name, "batch": len(orders)} for _ in orders]
