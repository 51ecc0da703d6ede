"""This package asks an online server for predictions: ``Client(url).predict(frame)``. It needs no library of a server's."""

from __future__ import annotations

from bentobatch.client.online import Client

__all__ = ["Client"]
