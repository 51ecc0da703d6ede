"""This module judges whether more rows were lost than a job allows, and says so in words."""

from __future__ import annotations

from bentobatch.engine.job import allowed_rows


def over_limits(
    max_rejects: str | None, max_discards: str | None, rows: int, rejected: int, discarded: int, rejects_file: str
) -> str | None:
    """What to tell the user if more rows were lost than the limits allow, else None."""
    for count, limit, what, flag in (
        (rejected, max_rejects, "rejected", "max-rejects"),
        (discarded, max_discards, "discarded by the api", "max-discards"),
    ):
        allowed = allowed_rows(limit, rows, option=flag)
        if allowed is not None and count > allowed:
            return (
                f"{count:,} of {rows:,} rows were {what}, more than --{flag} {limit} allows; see {rejects_file}; to accept"
                f" them, run the same command with --{flag} {count} (nothing is scored again)"
            )
    return None
