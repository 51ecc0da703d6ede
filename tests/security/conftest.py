"""Fixtures of the security tests: what the bundle tests have, a home and loaded code of their own."""

from __future__ import annotations

from tests.bundle.conftest import separate

__all__ = ["separate"]
