"""Defaults for options from a file in the working directory: shotsmith.toml, or [tool.shotsmith] in pyproject.toml.

A key outside a table holds for every command that has the option, one inside a table for the command of that name. What
stands on the command line wins. A key that no command knows is an error, because a misspelt default would be silent.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from policies.cli.app import app
from policies.cli.options import JsonOption, QuietOption, print_json
from selector.data.paths import DATA_VARIABLE, LIMIT_VARIABLE, STORE_MIB, VARIABLE, cache_folder, data_folder
from selector.errors import ConfigurationError

OWN_FILE, SHARED_FILE = Path("shotsmith.toml"), Path("pyproject.toml")
# What means something else for every command, and the alternative of another option, hold in a table alone.
_IN_TABLES: Final = ("out", "force")
_NOT_SHARED: Final = {("reason", "task")}
_NOT_SETTABLE: Final = ("help", "version", "install-completion", "show-completion")


@dataclass(frozen=True)
class Configuration:
    """What a configuration file sets.

    Attributes:
        source: What is read, as a person would call it; empty where there is no file.
        everywhere: Option, as it is written on the command line without its dashes, to value.
        commands: Command to option to value.
        data_from: What names the folder of data sets.
    """

    source: str = ""
    everywhere: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data_from: str = "default"

    def settings(self, command: str) -> dict[str, Any]:
        """Finds what a command is to take as defaults.

        Args:
            command: Its name; empty for the options before the command.

        Returns:
            Option to value, for the options that the command has.
        """
        known = options_of(command)
        shared = {
            name: value
            for name, value in self.everywhere.items()
            if name in known and (command, name) not in _NOT_SHARED
        }
        return shared | dict(self.commands.get(command, {}))


def read_configuration() -> Configuration:
    """Reads and checks the configuration of the working directory.

    Returns:
        What it sets; shotsmith.toml alone where both files are there.

    Raises:
        ConfigurationError: When the file is not TOML, or a key or value is not understood.
    """
    if OWN_FILE.is_file():
        return _checked(_toml(OWN_FILE), str(OWN_FILE))
    if SHARED_FILE.is_file():
        tool = _toml(SHARED_FILE).get("tool", {})
        if isinstance(tool, dict) and isinstance(tool.get("shotsmith"), dict):
            return _checked(tool["shotsmith"], f"{SHARED_FILE} [tool.shotsmith]")
    return Configuration()


def options_of(command: str) -> dict[str, Any]:
    """Lists what can be set for a command.

    Args:
        command: Its name; empty for the options before the command.

    Returns:
        Option without its dashes to typer's parameter.
    """
    parameters = _group().commands[command].params if command else _group().params
    named = ((each, one) for one in parameters if one.param_type_name == "option" for each in one.opts)
    return {
        name.removeprefix("--"): one
        for name, one in named
        if name.startswith("--") and name.removeprefix("--") not in _NOT_SETTABLE
    }


def command_names() -> Sequence[str]:
    """Lists the commands.

    Returns:
        Their names.
    """
    return tuple(_group().commands)


@cache  # made anew from every signature, it takes a while
def _group() -> Any:
    return typer.main.get_command(app)


def apply_configuration(context: typer.Context, data_dir: Path | None) -> Path | None:
    """Makes the configuration of the working directory the defaults of every command.

    Args:
        context: That of the options before the command.
        data_dir: The folder of data sets that the command line names, or None.

    Returns:
        The folder of data sets of the command line, else that of the configuration where the environment names none.

    Raises:
        ConfigurationError: When the file is wrong.
    """
    configuration = read_configuration()
    if configuration.source:
        context.default_map = {command: _defaults(configuration, command) for command in command_names()}
    source, folder = "default", data_dir
    if data_dir is not None:
        source = "--data-dir"
    elif os.environ.get(DATA_VARIABLE):
        source = DATA_VARIABLE
    elif "data-dir" in configuration.everywhere:
        source, folder = configuration.source, Path(str(configuration.everywhere["data-dir"]))
    context.obj = replace(configuration, data_from=source)
    return folder


def settings_used(context: typer.Context) -> list[str]:
    """Writes what a command has taken from the configuration as it would stand on the command line.

    Args:
        context: That of the command.

    Returns:
        Arguments; with those that were typed, they make the whole command.
    """
    arguments: list[str] = []
    for name, parameter in options_of(context.info_name or "").items():
        source = context.get_parameter_source(parameter.name)
        if source is None or source.name != "DEFAULT_MAP":
            continue
        value = context.params[parameter.name]
        if value is False:
            arguments += parameter.secondary_opts
        elif value is True:
            arguments.append(f"--{name}")
        else:
            values = value if isinstance(value, list | tuple) else [value]
            arguments += [part for each in values for part in (f"--{name}", str(each))]
    return arguments


def _defaults(configuration: Configuration, command: str) -> dict[str, Any]:
    """The settings of a command by the names of its parameters, as they would stand on the command line."""
    options = options_of(command)
    return {
        options[name].name: value if isinstance(value, bool | list) else str(value)
        for name, value in configuration.settings(command).items()
    }


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{path} is not TOML ({error})", expected="a TOML file in UTF-8", remedy="Correct it."
        ) from error


def _checked(document: Mapping[str, Any], source: str) -> Configuration:
    commands = {name: content for name, content in document.items() if isinstance(content, dict)}
    everywhere = {name: value for name, value in document.items() if name not in commands}
    anywhere: dict[str, list[Any]] = {}
    for command in ("", *command_names()):
        for name, parameter in options_of(command).items():
            anywhere.setdefault(name, []).append(parameter)
    for name, value in everywhere.items():
        _check_known("option", name, tuple(anywhere), source)
        if name in _IN_TABLES:
            raise ConfigurationError(
                f"{source} has {name!r} for every command",
                expected="it in a table, as it means something else for every command",
                remedy=f"Write it under the name of a command, as in [compare] {name} = ...",
            )
        fitting = [parameter for parameter in anywhere[name] if _fits(value, parameter)]
        if len(fitting) < len(anywhere[name]):
            raise _misfit(name, value, anywhere[name][0], source)
    for command, content in commands.items():
        _check_known("command", command, command_names(), source)
        options = options_of(command)
        for name, value in content.items():
            _check_known(f"option of {command}", name, tuple(options), source)
            if not _fits(value, options[name]):
                raise _misfit(f"[{command}] {name}", value, options[name], source)
    return Configuration(source, everywhere, commands)


def _check_known(kind: str, name: str, known: Sequence[str], source: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise ConfigurationError(
            f"{source} has {name!r}, which is no {kind}",
            expected="a name as `shotsmith --help` lists it, without dashes before it",
            remedy=f"Did you mean {close[0]!r}?" if close else "Remove it.",
        )


def _fits(value: Any, parameter: Any) -> bool:
    if parameter.is_flag:
        return isinstance(value, bool)
    if parameter.multiple:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _misfit(name: str, value: Any, parameter: Any, source: str) -> ConfigurationError:
    kind = "true or false" if parameter.is_flag else "a list of texts" if parameter.multiple else "a text or number"
    return ConfigurationError(f"{source}: {name} is {value!r}", expected=kind, remedy="Correct the value.")


@app.command()
def config(
    context: typer.Context,
    command: Annotated[str | None, typer.Argument(help="Show what this command takes alone.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show which defaults are in force in this folder, and where each comes from."""
    configuration = context.find_object(Configuration) or Configuration()
    if command is not None:
        _check_known("command", command, command_names(), "the command line")
    rows = _in_force(configuration, command)
    if as_json:
        print_json({"file": configuration.source or None, "settings": rows})
        return
    console = Console()
    if not configuration.source:
        console.print(
            f"No configuration here: neither {OWN_FILE} nor [tool.shotsmith] in {SHARED_FILE}.",
            highlight=False,
            markup=False,
        )
    table = Table("command", "setting", "value", "from")
    for row in rows:
        table.add_row(*(escape(str(row[name])) for name in ("command", "setting", "value", "from")))
    console.print(table)


def _in_force(configuration: Configuration, command: str | None) -> list[dict[str, Any]]:
    shared = {"command": "all", "from": configuration.source}
    rows = [
        shared | {"setting": f"--{option}", "value": value}
        for option, value in configuration.everywhere.items()
        if command is None and option != "data-dir"
    ]
    for name in configuration.commands if command is None else [command]:
        own = configuration.commands.get(name, {})
        for option, value in (own if command is None else configuration.settings(name)).items():
            where = f"{configuration.source} [{name}]" if option in own else configuration.source
            rows.append({"command": name, "setting": f"--{option}", "value": value, "from": where})
    rows.append(
        {"command": "all", "setting": "--data-dir", "value": str(data_folder() or "not set")}
        | {"from": configuration.data_from}
    )
    for variable, value in (
        (VARIABLE, str(cache_folder())),
        (LIMIT_VARIABLE, os.environ.get(LIMIT_VARIABLE, STORE_MIB)),
    ):
        where = variable if os.environ.get(variable) else "default"
        rows.append({"command": "all", "setting": variable, "value": value, "from": where})
    return rows
