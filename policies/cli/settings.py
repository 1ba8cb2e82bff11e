"""Settings of a configuration that have no option of their own, as NAME=VALUE on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, Final

import typer

from selector.errors import UnknownNameError, UsageError

SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE: any other setting, as in --set learning_rate=1e-3; may be repeated."),
]
FLAGS: Final = {"true": True, "false": False}
_READERS: Final[dict[str, tuple[Callable[[str], Any], str]]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (FLAGS.__getitem__, "true or false"),
    "str": (str, "a text"),
}


def settings_of_each(pairs: Sequence[str] | None, *configurations: type[Any]) -> list[dict[str, Any]]:
    """Reads settings of several configurations; each goes to the first that has a field of its name.

    Args:
        pairs: Of the form NAME=VALUE.
        *configurations: Dataclasses; see `settings_from`.

    Returns:
        The settings of each.

    Raises:
        UsageError: When a pair has another form, comes twice, or its value is of another type.
        UnknownNameError: When no configuration has such a field.
    """
    parted: list[list[str]] = [[] for _ in configurations]
    names = [{field.name for field in fields(one)} for one in configurations]
    for pair in pairs or ():
        name = _name(pair)
        places = [place for place, own in enumerate(names) if name in own]
        if not places:
            raise UnknownNameError("setting", name, known=tuple(sorted(set().union(*names))))
        parted[places[0]].append(pair)
    return [settings_from(own, one) for own, one in zip(parted, configurations, strict=True)]


def _name(pair: str) -> str:
    return pair.partition("=")[0].strip().replace("-", "_")


def settings_from(pairs: Sequence[str] | None, configuration: type[Any]) -> dict[str, Any]:
    """Reads settings of a configuration.

    Args:
        pairs: Of the form NAME=VALUE.
        configuration: A dataclass whose fields are numbers, flags and texts, or none of them.

    Returns:
        Field name to value of its type.

    Raises:
        UsageError: When a pair has another form, comes twice, or its value is of another type.
        UnknownNameError: When the configuration has no such field.
    """
    known = {field.name: field for field in fields(configuration)}
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, (_, equals, text) = _name(pair), pair.partition("=")
        if not equals or name in found:
            raise UsageError(f"--set {pair!r}", expected="NAME=VALUE, each name once", remedy="Correct it.")
        if name not in known:
            raise UnknownNameError("setting", name, known=tuple(known))
        found[name] = _value(known[name], text.strip())
    return found


def _value(field: Field[Any], text: str) -> Any:
    kind, _, none = str(field.type).partition(" | ")  # a text: annotations are not evaluated
    if none and text.lower() == "none":
        return None
    read, expected = _READERS[kind]
    try:
        return read(text.lower() if kind == "bool" else text)
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"--set {field.name}={text}", expected=expected + (" or none" if none else ""), remedy="Correct it."
        ) from error
