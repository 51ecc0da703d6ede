"""This module turns an Airflow connection into the fsspec options of a storage.

The options go to the engine's processes and nowhere else: they are in no plan, no XCom, no rendered field and no trigger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bentobatch.errors import UsageError

if TYPE_CHECKING:
    from airflow.sdk import Connection

OPTIONS = "storage_options"
"""The key of a connection's extra whose value is given to fsspec as it is, whatever the connection's type."""


def storage_options(conn_id: str | None) -> dict[str, Any] | None:
    """The fsspec options of a connection; None without one: the storage's own library then finds its credentials.

    Raises:
        UsageError: the connection is of a type, or needs a way to log in, that is not known here.
    """
    if not conn_id:
        return None
    from airflow.sdk import BaseHook  # here: a DAG file is parsed without it
    from airflow.sdk.log import mask_secret

    connection = BaseHook.get_connection(conn_id)
    options = options_of(connection, connection.extra_dejson)
    for secret in _secrets(options):
        mask_secret(secret)
    return options


async def storage_options_async(conn_id: str | None) -> dict[str, Any] | None:
    """As ``storage_options``, for a trigger, which must not block."""
    if not conn_id:
        return None
    from airflow.sdk import BaseHook
    from airflow.sdk.log import amask_secret

    connection = await BaseHook.aget_connection(conn_id)
    options = options_of(connection, await connection.aextra_dejson())
    for secret in _secrets(options):
        await amask_secret(secret)
    return options


def options_of(connection: Connection, extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a connection says, in the words of s3fs, gcsfs or adlfs."""
    if OPTIONS in extra:
        options = extra[OPTIONS]
        if not isinstance(options, dict):
            raise UsageError(f"connection {connection.conn_id!r}: {OPTIONS} in its extra must be a JSON object")
    else:
        reader = _READERS.get(connection.conn_type or "")
        if reader is None:
            raise UsageError(
                f"connection {connection.conn_id!r} is of the type {connection.conn_type!r}; known are "
                f'{", ".join(sorted(_READERS))}, and any type with {{"{OPTIONS}": {{…}}}} as its extra'
            )
        options = reader(connection, extra)
    return {name: value for name, value in options.items() if value not in (None, "", {})}


def _secrets(options: Mapping[str, Any]) -> list[Any]:
    """What the log must show as ***, should a library ever put it into a message."""
    return [value for name, value in options.items() if name in _SECRET]


def _aws(connection: Connection, extra: Mapping[str, Any]) -> dict[str, Any]:
    """s3fs. Roles and profiles are boto's own business: a worker's environment says them."""
    unknown = sorted({"role_arn", "assume_role_method", "profile_name"} & extra.keys())
    if unknown:
        raise UsageError(
            f"connection {connection.conn_id!r} says {', '.join(unknown)}, which is not done here: give it keys, or leave "
            "conn_id out and let the worker's environment say it (AWS_PROFILE, AWS_ROLE_ARN)"
        )
    service = extra.get("service_config", {}).get("s3", {})
    return {
        "key": connection.login or extra.get("aws_access_key_id"),
        "secret": connection.password or extra.get("aws_secret_access_key"),
        "token": extra.get("aws_session_token"),
        "endpoint_url": service.get("endpoint_url") or extra.get("endpoint_url"),
        "client_kwargs": {"region_name": extra["region_name"]} if extra.get("region_name") else None,
    }


def _google(connection: Connection, extra: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - all is in the extra
    """gcsfs."""
    import json

    key = extra.get("keyfile_dict")
    return {
        "token": (json.loads(key) if isinstance(key, str) and key else key) or extra.get("key_path"),
        "project": extra.get("project"),
    }


def _azure(connection: Connection, extra: Mapping[str, Any]) -> dict[str, Any]:
    """adlfs."""
    by_app = bool(extra.get("tenant_id"))
    return {
        "account_name": extra.get("account_name") or (connection.host if by_app else connection.login),
        "account_key": None if by_app else connection.password,
        "connection_string": extra.get("connection_string"),
        "sas_token": extra.get("sas_token"),
        "tenant_id": extra.get("tenant_id"),
        "client_id": connection.login if by_app else None,
        "client_secret": connection.password if by_app else None,
    }


_SECRET = frozenset(
    ("key", "secret", "token", "password", "account_key", "connection_string", "sas_token", "client_secret")
)
_READERS = {"aws": _aws, "google_cloud_platform": _google, "wasb": _azure, "adls": _azure}
