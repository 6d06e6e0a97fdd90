"""Settings declared once: one table yields flags, environment, ``--help`` and the documentation.

The program decides which settings exist, what they mean and how they depend on each other.
"""

import argparse
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from operator import attrgetter
from typing import Any, NoReturn

from natss.contract.reports import did_you_mean, shown
from natss.process.kinds import ValueKind, listed

_BAR = r"\|"
"""``|`` in a Markdown table."""


class SettingsError(Exception):
    """A setting is wrong or missing. The text fits in a line and contains no secret."""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. Its default is that of the field."""

    field: str
    """Where the value goes, such as ``ingress.max_connections``."""

    flag: str
    kind: ValueKind
    help: str

    _: KW_ONLY

    env: str = ""
    """The environment variable, if its name differs from the flag's."""

    go_env: tuple[str, ValueKind] | None = None
    """Another variable, from the earlier program in Go, and the kind of its values."""

    default: str | None = None
    """What is shown as default if that depends on other settings."""

    repeatable: bool = False
    """The flag may be given more than once; the variable has values with ``:`` between them."""

    secret: bool = False
    """A wrong value is not shown."""

    @property
    def variables(self) -> dict[str, ValueKind]:
        """The environment variables, and the kind of value in each."""
        variable = self.env or self.flag.removeprefix("--").upper().replace("-", "_")
        return {variable: self.kind} | dict([self.go_env] if self.go_env else [])


@dataclass(frozen=True, slots=True)
class Section:
    """Settings that belong together."""

    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What ``--help`` and ``--version`` say about a program besides its settings."""

    name: str
    version: str
    usage: str
    """What follows the name in the usage."""

    description: str
    units: str
    """One sentence: how to write values that have a unit."""


@dataclass(frozen=True, slots=True)
class Given:
    """A given value, and where it was given: ``--flag`` or the name of a variable."""

    value: Any
    where: str


def read(
    sections: Sequence[Section],
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> dict[str, Given]:
    """Read the values of flags and environment, by field; flags win.

    An empty variable counts as not set.

    Raises:
        SettingsError: an unknown flag, or a value that is not of its kind.
        SystemExit: ``--help`` or ``--version`` was asked for, and printed.
    """
    arguments, unknown = parser.parse_known_args(list(argv))
    if unknown:
        raise SettingsError(_unknown(unknown[0], sections))
    values = {}
    for option in (option for section in sections for option in section.options):
        text = getattr(arguments, option.field)
        given = _of_flag(option, text) if text is not None else _of_environment(option, environ)
        if given is not None:
            values[option.field] = given
    return values


def _of_flag(option: Option, text: str | list[str]) -> Given:
    if isinstance(text, list):
        return Given(
            tuple(_parse(option, option.kind, each, option.flag) for each in text), option.flag
        )
    return Given(_parse(option, option.kind, text, option.flag), option.flag)


def _of_environment(option: Option, environ: Mapping[str, str]) -> Given | None:
    kinds = option.variables
    names = [name for name in kinds if environ.get(name, "").strip()]
    if not names:
        return None
    if len(names) > 1:
        raise SettingsError(f"{' and '.join(names)} mean the same; set one of them")
    name, text = names[0], environ[names[0]].strip()
    if option.repeatable:
        texts = listed(text, ":")
        return Given(tuple(_parse(option, option.kind, each, name) for each in texts), name)
    return Given(_parse(option, kinds[name], text, name), name)


def _parse(option: Option, kind: ValueKind, text: str, where: str) -> object:
    try:
        return kind.parse(text)
    except ValueError as error:
        value = "its value" if option.secret else shown(text)
        raise SettingsError(f"{where}: {value} cannot be used: it {error}") from error


def _unknown(argument: str, sections: Sequence[Section]) -> str:
    """Return the argument without what follows ``=``, which may be a secret."""
    name = argument.partition("=")[0]
    if not name.startswith("-"):
        return f"unexpected argument {shown(name).removeprefix('the text ')}; see --help"
    flags = [option.flag for section in sections for option in section.options]
    return f"unknown flag {ascii(name)[1:-1]}{did_you_mean(name, flags)}; see --help"


class _Formatter(argparse.HelpFormatter):
    """For terminals of 80 columns; keeps line ends, and keeps names with hyphens in one piece."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=80)

    def _split_lines(self, text: str, width: int) -> list[str]:
        wrapper = textwrap.TextWrapper(width, break_on_hyphens=False)
        return [wrapped for line in text.splitlines() for wrapped in wrapper.wrap(line)]


class _Parser(argparse.ArgumentParser):
    """Raises mistakes to the caller instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see --help")


def make_parser(
    program: Program, sections: Sequence[Section], defaults: object
) -> argparse.ArgumentParser:
    """Return a parser that knows every flag and prints help for terminals of 80 columns.

    Args:
        program: The program.
        sections: All of its settings.
        defaults: The object whose fields they are.
    """
    parser = _Parser(
        prog=program.name,
        usage=f"{program.name} {program.usage}",
        description=program.description,
        epilog=f"{program.units} In brackets stand the environment variable and the default; a"
        " flag wins over its variable.",
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    for section in sections:
        group = parser.add_argument_group(section.title)
        for option in section.options:
            default = default_of(option, defaults)
            brackets = " or ".join(option.variables) + (f", default {default}" if default else "")
            group.add_argument(
                option.flag,
                dest=option.field,
                metavar=option.kind.metavar,
                action="append" if option.repeatable else "store",
                help=f"{option.help}\n[{brackets}]".replace("%", "%%"),
            )
    group = parser.add_argument_group("Other")
    group.add_argument("--help", "-h", action="help", help="show this text and exit")
    group.add_argument(
        "--version",
        action="version",
        version=f"{program.name} {program.version}",
        help="show the version and exit",
    )
    return parser


def default_of(option: Option, defaults: object) -> str:
    """Return the default as a person would write it; empty if there is none."""
    if option.default is not None:
        return option.default
    value = attrgetter(option.field)(defaults)
    return "" if value is None or value == () else option.kind.show(value)


def markdown(sections: Sequence[Section], defaults: object) -> str:
    """Return a table of all settings for each section, as in ``docs/settings.md``."""
    lines = []
    for section in sections:
        lines += [f"## {section.title}", "", "| flag | environment | default | meaning |"]
        lines += ["|---|---|---|---|"]
        for option in section.options:
            variables = ", ".join(f"`{name}`" for name in option.variables)
            default = default_of(option, defaults)
            lines.append(
                f"| `{option.flag} {option.kind.metavar.replace('|', _BAR)}` | {variables}"
                f" | {f'`{default}`' if default else ''} | {option.help} |".replace("  ", " ")
            )
        lines.append("")
    return "\n".join(lines)


def applied(settings: Any, values: Mapping[str, object]) -> Any:
    """Return a copy of nested dataclasses with new values for fields named as by ``Option``."""
    for path, value in values.items():
        settings = _with(settings, path.split("."), value)
    return settings


def _with(settings: Any, path: Sequence[str], new: object) -> Any:
    name, *rest = path
    value = _with(getattr(settings, name), rest, new) if rest else new
    return replace(settings, **{name: value})


def exit_with(program: Program, error: Exception) -> NoReturn:
    """Print a mistake in one line and end the process with status 2."""
    sys.stderr.write(f"{program.name}: {error}\n")
    raise SystemExit(2)
