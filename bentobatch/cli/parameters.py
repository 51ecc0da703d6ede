"""This module adds what click lacks: flags with several values each, sizes, comma lists, and options in groups."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_NAMED = re.compile(r"--input-(?:file-|(?!file-))(?P<name>[A-Za-z_][A-Za-z0-9_-]*)")
_NAMED_INPUT = "--named-input"
_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kmgt]?i?)b?", re.IGNORECASE)


def size(value: Any) -> int:
    """A number of bytes: 1048576, 64MB (millions), 64MiB (powers of 1024)."""
    if isinstance(value, int):
        return value
    match = _SIZE.fullmatch(value.strip())
    factor = (_UNITS | _BINARY_UNITS).get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise click.BadParameter(f"{value!r} is no size in bytes such as 1048576, 64MB or 64MiB")
    number = int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor
    if number < 1:
        raise click.BadParameter("a size must be at least 1 byte")
    return number


def names(value: Any) -> tuple[str, ...]:
    """Names with commas between them; a name that holds a comma is put into double quotes, as in CSV."""
    found = texts(value)
    if not all(found):
        raise click.BadParameter(f"{value!r} holds an empty name")
    return found


def texts(value: Any) -> tuple[str, ...]:
    """Texts with commas between them, in the spelling of ``names``; the empty text is one too."""
    if isinstance(value, tuple):
        return value
    try:
        rows = list(csv.reader([value], strict=True))
    except csv.Error as error:
        raise click.BadParameter(f"{value!r} is no list with commas: {error}") from error
    if len(rows) > 1:
        raise click.BadParameter(f"{value!r} holds a line break")
    return tuple(rows[0]) if rows and rows[0] else ("",)


def storage_option(value: Any) -> tuple[str, Any]:
    """name=value. A value that is JSON (true, 8, "text", {...}) is taken as such, any other as the text it is.

    Messages leave the text out: it may be a password.
    """
    if isinstance(value, tuple):
        return value
    name, equals, text = value.partition("=")
    if not name or not equals:
        raise click.BadParameter("it takes the form name=value")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def named_input(value: Any) -> tuple[str, str]:
    """NAME=PATH, which ``--input-file-NAME PATH`` and ``--input-NAME @PATH`` are spelled as."""
    if isinstance(value, tuple):
        return value
    name, _, path = value.partition("=")
    return name, path


def delimiter(value: Any) -> str:
    """One character; "tab" and a backslash with t mean a tabulator, which is hard to type in a shell."""
    character = "\t" if value in ("tab", "\\t") else str(value)
    if len(character) != 1 or character in '"\r\n':
        raise click.BadParameter(f"{value!r} is not one character that can separate fields; a tabulator is written tab")
    return character


class GroupedOption(click.Option):
    """An option that --help shows under the heading ``group``. With ``several``, one flag takes all values up to the
    next option (``--input a b c``), and may be repeated too."""

    def __init__(self, *args: Any, group: str = "Options", several: bool = False, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.group = group
        self.several = several


@dataclass(frozen=True)
class DeclaredOption:
    """An option as it is declared once, for every command that has it: a decorator."""

    group: str
    flags: tuple[str, ...]
    attributes: Mapping[str, Any]

    @classmethod
    def of(cls, group: str, *flags: str, **attributes: Any) -> DeclaredOption:
        """As ``click.option`` is called, with the heading before."""
        return cls(group, flags, attributes)

    def __call__(self, function: F) -> F:
        """Add the option to a command's function."""
        return click.option(*self.flags, cls=GroupedOption, group=self.group, **self.attributes)(function)


class RunCommand(click.Command):
    """A command whose options come in groups and may take several values after one flag."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spell several values after one flag as click reads them, then parse."""
        spelled, swallowed = self._one_value_per_flag(ctx, args)
        try:
            return super().parse_args(ctx, spelled)
        except click.MissingParameter as error:
            if swallowed and isinstance(error.param, click.Argument):
                raise click.UsageError(
                    f"{(error.param.name or '').upper()} is missing: put it before {swallowed}, "
                    "which takes all values up to the next option",
                    ctx,
                ) from error
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their groups, in the order of declaration."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and isinstance(param, click.Option):
                groups.setdefault(getattr(param, "group", "Other"), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records)

    def _one_value_per_flag(self, ctx: click.Context, args: Sequence[str]) -> tuple[list[str], str | None]:
        """``--input a b`` as ``--input=a --input=b``, and the last flag that took several values, if one did.

        A value that begins with ``--`` must be given as ``--flag=value``: else ``--output-file --overwrite`` would
        write a file of that name.
        """
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
        several = {flag for option in options if getattr(option, "several", False) for flag in option.opts}
        valued = {flag for option in options if not option.is_flag and not option.count for flag in option.opts}
        spelled: list[str] = []
        swallowed: str | None = None
        position = 0
        while position < len(args):
            word = args[position]
            position += 1
            if word == "--":
                return [*spelled, word, *args[position:]], swallowed
            name = _input_name(word, known)
            if name is not None:
                _, equals, value = word.partition("=")
                values = [value] if equals else _values_of(args[position:], known, most=None)
                paths = _named_paths(word, values, ctx)
                spelled += [f"{_NAMED_INPUT}={name}={path}" for path in paths]
                position += 0 if equals else len(values)
                swallowed = word if len(values) > 1 else swallowed
                continue
            if word not in valued:
                spelled.append(word)
                continue
            values = _values_of(args[position:], known, most=None if word in several else 1)
            if not values:
                raise click.BadOptionUsage(
                    word, f"{word} needs a value; one that begins with -- is given as {word}=VALUE", ctx
                )
            position += len(values)
            joint = "=" if word.startswith("--") else ""  # click takes -oVALUE, and would take the = for a part of it
            spelled += [f"{word}{joint}{value}" for value in values]
            if len(values) > 1:
                swallowed = word
        return spelled, swallowed


def _input_name(word: str, known: Iterable[str]) -> str | None:
    """The NAME of ``--input-file-NAME`` or ``--input-NAME``, where the command has such and no option of that name."""
    match = _NAMED.fullmatch(word.partition("=")[0])
    return match["name"] if match is not None and match[0] not in known and _NAMED_INPUT in known else None


def _named_paths(word: str, values: Sequence[str], ctx: click.Context) -> list[str]:
    """The paths after ``--input-file-NAME``, or after ``--input-NAME``, where each is written @PATH."""
    flag = word.partition("=")[0]
    if flag.startswith("--input-file-"):
        if not values:
            raise click.BadOptionUsage(word, f"{flag} needs a value", ctx)
        return list(values)
    if not values or not all(value.startswith("@") for value in values):
        raise click.NoSuchOption(flag, ctx=ctx)
    return [value[1:] for value in values]


def _values_of(tokens: Sequence[str], known: Iterable[str], *, most: int | None) -> list[str]:
    values: list[str] = []
    for token in tokens[:most]:
        if token.startswith("--") or token in known:
            break
        values.append(token)
    return values


def joined(_ctx: click.Context, _param: click.Parameter, lists: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """A click callback: the names of a repeatable comma list in one tuple, None where the option was not given."""
    return tuple(name for names in lists for name in names) if lists else None
