"""This module is ``bentobatch config``: the settings of this machine's user, as they are and where they come from."""

from __future__ import annotations

import os

import click

from bentobatch.cli.options import debug_option
from bentobatch.cli.text import printable
from bentobatch.errors import NoInputError, UsageError
from bentobatch.settings import KEYS, SECRET_KEYS, check_key, read_config, read_settings, variable, write_config

_PATHS = frozenset({"policy"})


def _keys_help() -> str:
    return "\n\n".join(f"{key} ({variable(key)}): {meaning}" for key, meaning in KEYS.items())


@click.group("config", short_help="Show or change the settings.", epilog=_keys_help())
def config_group() -> None:
    """Show or change the settings in <home>/config.yml. A variable of the environment comes before the file."""


@config_group.command("view", short_help="Show all settings.")
@debug_option
def view_command(debug: bool) -> None:
    """Show every setting, its value, and whether it comes from the environment or the file."""
    from bentobatch.cli.bundles import table_lines

    del debug  # main has seen it
    settings = read_settings()
    rows = [("KEY", "VALUE", "FROM"), ("home", str(settings.home), _source("home", {}))]
    file = read_config(settings.config_file)
    for key in KEYS:
        value = getattr(settings, key)
        shown = "" if value is None else "***" if key in SECRET_KEYS else value
        rows.append((key, shown, _source(key, file) if value is not None else ""))
    for line in table_lines(rows):
        click.echo(line)


@config_group.command("get", short_help="Print one setting.")
@click.argument("key")
@debug_option
def get_command(key: str, debug: bool) -> None:
    """Print the value of KEY that counts."""
    del debug  # main has seen it
    value = getattr(read_settings(), check_key(key))
    if value is None:
        raise NoInputError(f"{key} is not set: set it with `bentobatch config set {key}=VALUE`")
    click.echo(printable(value))


@config_group.command("set", short_help="Change one setting.")
@click.argument("setting", metavar="KEY=VALUE")
@click.argument("value", required=False)
@debug_option
def set_command(setting: str, value: str | None, debug: bool) -> None:
    """Write KEY=VALUE (or KEY VALUE) into the file."""
    del debug  # main has seen it
    key, separator, text = setting.partition("=")
    if bool(separator) == (value is not None):
        raise UsageError("write `bentobatch config set KEY=VALUE`")
    text = text if value is None else value
    check_key(key)
    if not text or not text.isprintable():
        raise UsageError(f"{key} needs a value in one line; `bentobatch config unset {key}` removes it")
    file = read_settings().config_file
    write_config(file, {**read_config(file), key: os.path.abspath(os.path.expanduser(text)) if key in _PATHS else text})


@config_group.command("unset", short_help="Remove one setting.")
@click.argument("key")
@debug_option
def unset_command(key: str, debug: bool) -> None:
    """Remove KEY from the file; one that is not there is no error."""
    del debug  # main has seen it
    check_key(key)
    file = read_settings().config_file
    values = read_config(file)
    if values.pop(key, None) is not None:
        write_config(file, values)


def _source(key: str, file: dict[str, str]) -> str:
    name = variable(key)
    return f"environment ({name})" if os.environ.get(name) else "file" if file.get(key) else "default"
