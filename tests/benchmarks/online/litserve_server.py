"""This module is the server as one writes it with LitServe, batched. ``MODEL`` is a file of joblib's, ``PORT`` its port."""

from __future__ import annotations

import os

import joblib
import litserve
import numpy as np


class Served(litserve.LitAPI):
    """Tells the class of one row of 20 features a request."""

    def setup(self, device):
        """Called in each worker."""
        self.model = joblib.load(os.environ["MODEL"])

    def decode_request(self, request):
        """The row of the request."""
        return request["rows"][0]

    def predict(self, rows):
        """The classes of a batch."""
        return self.model.predict(np.array(rows, dtype=np.float64)).tolist()

    def batch(self, inputs):
        """A batch is the list of its rows."""
        return inputs

    def unbatch(self, output):
        """And its answers are a list of classes."""
        return output

    def encode_response(self, output):
        """As the other servers answer."""
        return [output]


if __name__ == "__main__":
    api = Served(max_batch_size=256, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="error")
