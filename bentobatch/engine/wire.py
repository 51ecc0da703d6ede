"""This module carries JSON between a run's leader and its worker processes, over a socket pair and never as pickles."""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any

from bentobatch.errors import BentobatchError, ModelError, error_classes

_LENGTH = struct.Struct("!Q")


class Wire:
    """One end of a socket pair. Any thread may send; one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._sending = threading.Lock()
        self._buffer = bytearray()

    def send(self, message: dict[str, Any]) -> None:
        """Send one message; raises OSError when the other end is gone."""
        data = json.dumps(message).encode()
        with self._sending:
            self.socket.sendall(_LENGTH.pack(len(data)) + data)

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None when the other end is gone."""
        while True:
            message = self.next_buffered()
            if message is not None:
                return message
            if not self.fill():
                return None

    def fill(self) -> bool:
        """Read what has arrived (waits for something); False when the other end is gone."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)

    def next_buffered(self) -> dict[str, Any] | None:
        """A whole message that has arrived, if there is one."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        message: dict[str, Any] = json.loads(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return message

    def close(self) -> None:
        """Close this end."""
        self.socket.close()


def error_to_json(error: BentobatchError, trace: str = "") -> dict[str, str]:
    """An error as JSON values; ``trace`` is shown with --debug."""
    return {"type": type(error).__name__, "message": str(error), "trace": trace}


def error_from_json(data: dict[str, str]) -> BentobatchError:
    """The error that ``error_to_json`` wrote; its class is one of ours, whatever the message says."""
    error = error_classes().get(data["type"], ModelError)(data["message"])
    if data.get("trace"):
        error.__cause__ = RemoteTraceback(data["trace"])
    return error


class RemoteTraceback(Exception):  # noqa: N818 - it is shown as the cause of another error, as concurrent.futures does
    """The traceback of an error in a worker process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"
