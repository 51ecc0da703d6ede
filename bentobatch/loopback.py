"""This module tells addresses that only this machine reaches from those that others reach too."""

from __future__ import annotations

import ipaddress

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""What clients call a server on loopback."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``, an address or "localhost"."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
