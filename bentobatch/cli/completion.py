"""This module is ``bentobatch install-completion``: the shell completes commands and options of bentobatch."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from bentobatch.cli.options import debug_option
from bentobatch.cli.text import printable
from bentobatch.errors import OutputError, UsageError

_FILES = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/completions/bentobatch.fish"}
_BEGIN, _END = "# >>> bentobatch completion >>>", "# <<< bentobatch completion <<<"
_BLOCK = re.compile(rf"{_BEGIN}\n.*?{_END}\n", re.DOTALL)


def variable_of(name: str) -> str:
    """The environment variable by which a shell asks the program ``name`` for completions."""
    return f"_{re.sub(r'[^A-Z0-9]', '_', name.upper())}_COMPLETE"


@click.command("install-completion", short_help="Let the shell complete commands and options.")
@click.option(
    "--append/--overwrite",
    default=True,
    help="Keep what else stands in the file, or replace all of it.  [default: keep]",
)
@click.argument("shell", required=False, type=click.Choice(tuple(_FILES)))
@click.argument("path", required=False)
@debug_option
@click.pass_context
def install_completion_command(
    ctx: click.Context, append: bool, shell: str | None, path: str | None, debug: bool
) -> None:
    """Write the completion for SHELL (default: that of $SHELL) into the file PATH (default: the shell's own startup file),
    once: a second call replaces what the first wrote. It works in shells that are started afterwards."""
    del debug  # main has seen it
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in _FILES:
        raise UsageError(f"the shell {shell!r} is not known here: give one of {', '.join(_FILES)}")
    file = Path(path or _FILES[shell]).expanduser()
    program = ctx.find_root().info_name or "bentobatch"
    found = get_completion_class(shell)
    assert found is not None
    block = f"{_BEGIN}\n{found(ctx.find_root().command, {}, program, variable_of(program)).source().rstrip()}\n{_END}\n"
    try:
        before = file.read_text("utf-8") if file.exists() else ""
        if not append and path is None and _BLOCK.sub("", before).strip():
            raise UsageError(f"{file} holds more than completions: give its path, if you want to overwrite all of it")
        kept = _BLOCK.sub("", before) if append else ""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(kept + ("\n" if kept and not kept.endswith("\n") else "") + block, "utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"cannot write {str(file)!r}: {error}; give another path") from error
    click.echo(printable(f"{shell} completion is in {file}"))
