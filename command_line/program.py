# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command lines of all programs have in common, on top of click.

Help is in sections, and examples stay as they are written; commands are loaded when they are asked for; an
option's first letters will do where they name one option only; mistakes are told in one sentence.
"""

import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from farm_protocol.errors import InvalidInput

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]
_NEGATIVE = re.compile(r"-[0-9]+|-[0-9]*\.[0-9]+")
SETTINGS = {"help_option_names": ["-h", "--help"]}
WIDEST = 110


class UsageError(InvalidInput):
    """The command line cannot be understood."""

    code = "usage"


def answer(command: click.Command, words: Sequence[str], name: str, obj: Any = None) -> Any:
    """What the function of the command returns that the words name.

    Raises UsageError for words that cannot be understood, SystemExit once --help or --version is answered.
    """
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    if os.environ.get(variable):
        from click.shell_completion import shell_complete  # noqa: PLC0415

        raise SystemExit(shell_complete(command, {}, name, variable, os.environ[variable]))
    try:
        with command.make_context(name, list(words), obj=obj, terminal_width=_width()) as context:
            return command.invoke(context)
    except click.exceptions.Exit as done:
        raise SystemExit(done.exit_code) from None
    except click.UsageError as error:
        sentence = error.format_message().rstrip(".")
        end = "" if sentence.endswith(("?", "?)")) else "."
        path = error.ctx.command_path if error.ctx else name
        raise UsageError(f"{sentence}{end} `{path} --help` shows how it is used.") from error


def _width() -> int:
    """Of help, in letters. What click would ask takes long to load."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal():
        found = int(columns)
    else:
        try:
            found = os.get_terminal_size(sys.stdout.fileno()).columns
        except (OSError, ValueError, AttributeError):
            found = 0
    return min(found or 80, WIDEST + 2) - 2


class Option(click.Option):
    """An option with the `section` of the help it stands in. One that may be given several times is added to
    what its variable says; {default} in its help is its default.
    """

    def __init__(self, *words: Any, section: str = "Options", **more: Any) -> None:
        super().__init__(*words, **more)
        self.section = section

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        """The values of the command line after those of the environment."""
        value, source = super().consume_value(ctx, opts)
        if self.multiple and source is ParameterSource.COMMANDLINE:
            value = (*(self.value_from_envvar(ctx) or ()), *value)
        return value, source

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Its names, and what it means with the variable that says the same."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        default = self.get_default(ctx)
        text = record[1].replace("{default}", f"{default:g}" if isinstance(default, float) else str(default))
        variable = f" [{self.envvar}{'=1' if self.is_flag else ''}]" if self.envvar else ""
        return record[0], f"{text}{variable}"


class Variable(click.Parameter):
    """What is taken from the environment only: secrets, which command lines would show to everybody."""

    param_type_name = "variable"

    def _parse_decls(self, decls: Sequence[str], expose_value: bool) -> tuple[str, list[str], list[str]]:
        return decls[0], [], []

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """There is no word for it."""


def option(*names: str, **more: Any) -> Decorator[Any]:
    """A decorator: the command takes this option."""
    return click.option(*names, cls=Option, **more)


def own_option(name: str, *parameter: str, **more: Any) -> Decorator[Any]:
    """A decorator: the command takes --`name`, or the variable FARM_ and its name, as its `parameter`."""
    return option(f"--{name}", *parameter, envvar=f"FARM_{name.upper().replace('-', '_')}", **more)


def variable(name: str, envvar: str, **more: Any) -> Decorator[Any]:
    """A decorator: the command is given what the environment says, or the default ''."""

    def decorate(function: Function) -> Function:
        _parameters(function).append(Variable([name], envvar=envvar, **({"default": ""} | more)))
        return function

    return decorate


def together(name: str, make: Callable[..., Any], *options: Decorator[Any]) -> Decorator[Any]:
    """A decorator: the command takes these options, and is given what `make` makes of them as `name`."""

    def decorate(function: Function) -> Function:
        before = len(_parameters(function))
        for one in reversed(options):
            one(function)
        names = [one.name for one in reversed(_parameters(function)[before:])]
        function.__dict__.setdefault("__together__", []).append((name, make, names))
        return function

    return decorate


def both(*options: Decorator[Any]) -> Decorator[Any]:
    """A decorator: the command takes all of these options."""

    def decorate(function: Function) -> Function:
        for one in reversed(options):
            one(function)
        return function

    return decorate


def _parameters(function: Callable[..., Any]) -> list[click.Parameter]:
    found: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
    return found


def show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Answer --version; the version is looked up only then."""
    if wanted and not context.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415

        click.echo(f"{context.find_root().info_name} {version('render-farm')}")
        context.exit()


version_option = option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="print the version and stop",
)


class Command(click.Command):
    """A command whose help and words are read as all programs do."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **({"context_settings": SETTINGS} | more))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words, and put together what belongs together."""
        if ctx.resilient_parsing:  # for completion
            return super().parse_args(ctx, args)
        try:
            rest = super().parse_args(ctx, self._spelled_out(ctx, args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise
        for name, make, names in getattr(self.callback, "__together__", ()):
            ctx.params[name] = make(**{one: ctx.params.pop(one) for one in names})
        return rest

    def _spelled_out(self, ctx: click.Context, args: Iterable[str]) -> list[str]:
        """Options in full, before all that is none; a negative number is none. Raises click.UsageError for
        first letters of several options, and for an option that stands where another one's value should be.
        """
        known = {
            name: one for one in self.get_params(ctx) if isinstance(one, click.Option) for name in one.opts
        }
        words, spelled, others = deque(args), list[str](), list[str]()
        while words:
            word = words.popleft()
            if word == "--":
                break
            if not word.startswith("-") or word == "-" or _NEGATIVE.fullmatch(word):
                others.append(word)
                if not ctx.allow_interspersed_args:
                    break
                continue
            name, equals, value = word.partition("=")
            name = _completed(ctx, name, known) if name.startswith("--") else name
            spelled.append(f"{name}{equals}{value}")
            if not equals and name in known and not known[name].is_flag:
                if not words or words[0].partition("=")[0] in known:
                    raise click.BadOptionUsage(name, f"Option '{name}' requires an argument.", ctx)
                spelled.append(words.popleft())
        return [*spelled, "--", *others, *words]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the command does, as a sentence."""
        if self.help:
            formatter.write_paragraph()
            formatter.write_text(f"{self.help[0].upper()}{self.help[1:].rstrip('.')}.")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options, section by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx) if isinstance(one, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(one, "section", "Options"), []).append(record)
        for section in sorted(sections, key=lambda name: name != "Options"):
            with formatter.section(section):
                formatter.write_dl(sections[section])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as they are written."""
        if self.epilog:
            formatter.write(f"\n{self.epilog.rstrip()}\n")


def _completed(ctx: click.Context, start: str, known: Mapping[str, click.Option]) -> str:
    """The one option that begins so; `start` where there is none."""
    found = [start] if start in known else [name for name in known if name.startswith(start)]
    if len({known[name] for name in found if name in known}) > 1:
        ctx.fail(f"Ambiguous option: {start} could match {', '.join(found)}")
    return found[0] if found else start


class Group(Command, click.Group):
    """Commands in the order in which they are given. Those in `lazy`, by name with "module:command" and what
    their help says, are loaded when they are asked for.
    """

    command_class = Command

    def __init__(self, *words: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **more: Any) -> None:
        usual = {"no_args_is_help": False, "subcommand_metavar": "COMMAND ...", "options_metavar": None}
        super().__init__(*words, **(usual | more))
        self._lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [*self.commands, *self._lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded by now."""
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._lazy[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(module), name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words name. Raises click.UsageError, which tells the names there are."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            names = ", ".join(self.list_commands(ctx))
            raise click.UsageError(
                f"No such command '{error.command_name}': there are {names}", ctx
            ) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, and then the options."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._told()))
        Command.format_options(self, ctx, formatter)

    def _told(self) -> Iterator[tuple[str, str]]:
        yield from ((name, one.help or "") for name, one in self.commands.items())
        yield from ((name, told) for name, (_, told) in self._lazy.items())
