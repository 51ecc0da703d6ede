"""This module is the program ``bentobatch``: its commands, and how an error becomes one line and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

import bentobatch
from bentobatch.cli.bundles import get_command, info_command, list_command
from bentobatch.cli.clean import clean_command
from bentobatch.cli.compare import compare_command
from bentobatch.cli.completion import install_completion_command, variable_of
from bentobatch.cli.config import config_group
from bentobatch.cli.containerize import containerize_command
from bentobatch.cli.descriptors import fill_missing_descriptors
from bentobatch.cli.env import env_group
from bentobatch.cli.labels_command import label_group
from bentobatch.cli.logs import Messages
from bentobatch.cli.manifests import manifest_group
from bentobatch.cli.migrate import migrate_command
from bentobatch.cli.moving import delete_command, pull_command, push_command, retrieve_command
from bentobatch.cli.open_api_spec import open_api_spec_command
from bentobatch.cli.redrive import redrive_command
from bentobatch.cli.repository import repository_group
from bentobatch.cli.repository_server import repository_server_group
from bentobatch.cli.run import run_command
from bentobatch.cli.serve import serve_command
from bentobatch.cli.serve_gunicorn import serve_gunicorn_command
from bentobatch.cli.streams import StdoutClosedError, guarded_stdout
from bentobatch.cli.trust import keygen_command, sign_command, verify_command
from bentobatch.engine.stop import Stopped
from bentobatch.errors import BentobatchError, StorageError

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_INTERNAL = 70


@click.group(invoke_without_command=True)
@click.option("--version", is_flag=True, help="Show the version and exit.")
@click.pass_context
def cli(ctx: click.Context, version: bool) -> None:
    """Score data with saved model bundles: any size, resumable, the same answer everywhere."""
    if version:
        click.echo(f"bentobatch {bentobatch.__version__}")
    elif ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


for command in (
    run_command,
    serve_command,
    serve_gunicorn_command,
    redrive_command,
    compare_command,
    clean_command,
    info_command,
    open_api_spec_command,
    containerize_command,
    manifest_group,
    list_command,
    migrate_command,
    get_command,
    delete_command,
    push_command,
    pull_command,
    retrieve_command,
    label_group,
    config_group,
    env_group,
    repository_group,
    repository_server_group,
    keygen_command,
    sign_command,
    verify_command,
    install_completion_command,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None, *, command: click.Group = cli, name: str = "bentobatch") -> int:
    """Run one command line (default: this process's) and return its exit code. All output of errors is here.

    ``command`` and its ``name``: those of an installed bundle instead of bentobatch's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    fill_missing_descriptors()
    asked = os.environ.get(variable_of(name))  # a shell wants to know how a line may go on
    if asked:
        return shell_complete(command, {}, name, variable_of(name), asked)
    try:
        # guarded_stdout flushes at its end, where a full disk or a reader who left may show for the first time
        with guarded_stdout(), command.make_context(name, list(words)) as ctx:
            command.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    except StdoutClosedError:
        return EXIT_OK
    except (Exception, KeyboardInterrupt, Stopped) as error:  # noqa: BLE001 - the program's outermost border
        return _report(error, words)
    return EXIT_OK


def _report(error: BaseException, words: Sequence[str]) -> int:
    """Say in one line what happened, and return the exit code that means it."""
    log_format, debug = _wanted(words)
    messages = Messages(sys.stderr, log_format)
    line, code = _line_and_code(error)
    if debug:
        messages.traceback(error)
    messages.event("error", line, exit_code=code)
    return code


def _line_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, BentobatchError):
        return str(error) or type(error).__name__, error.exit_code
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "bentobatch"
        return f"{_lower_first(error.format_message())} (see {where} --help)", EXIT_USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), EXIT_USAGE
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "stopped by SIGINT", 128 + signal.SIGINT
    if isinstance(error, Stopped):
        return f"stopped by {signal.Signals(error.signum).name}", 128 + error.signum
    if isinstance(error, MemoryError):
        return "out of memory; give fewer --workers or a smaller --batch-rows (--debug shows more)", EXIT_INTERNAL
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename!r}: " if error.filename is not None else ""
        return f"{name}{error.strerror} (--debug shows more)", StorageError.exit_code
    return f"unexpected {type(error).__name__}: {error} (--debug shows more)", EXIT_INTERNAL


def _wanted(words: Sequence[str]) -> tuple[str, bool]:
    """The log format and --debug as they stand on the command line, which click may not have got to.

    Both are flags that no value can look like: a value that begins with ``--`` is joined to its flag with ``=``.
    """
    words = words[: words.index("--")] if "--" in words else words
    pairs = zip(words, [*words[1:], ""], strict=True)
    as_json = any(word == "--log-format=json" or (word == "--log-format" and after == "json") for word, after in pairs)
    return "json" if as_json else "text", "--debug" in words


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".") if text[1:2].islower() else text.rstrip(".")
