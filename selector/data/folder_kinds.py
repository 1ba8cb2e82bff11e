"""Which of the project's folders a folder is: for those who expected another one, and before one is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from selector.errors import ArtifactError

# What tells a folder; what it is; what to do with it.
KINDS: Final = (
    ("policy.safetensors", "an exported policy", "pass it by --artifact, or to compare or serve by --methods"),
    ("shotsmith.json", "a trained retriever", "pass it by --method, by --retriever, or to compare by --methods"),
    ("run.json", "a run", "`shotsmith export` makes an artifact of a run of train-policy"),
    ("mining.json", "a folder of mined candidates", "`shotsmith train-retriever --mined` learns from it"),
)


def other_kind(folder: Path) -> tuple[str, str]:
    """Tells what a folder is that is not what was expected.

    Args:
        folder: The folder.

    Returns:
        What it is, to stand behind its name (", which is a run"), and what to do with it, as a sentence; both empty
        where it is none of the project's folders.
    """
    for name, kind, remedy in KINDS:
        if (folder / name).is_file():
            return f", which is {kind}", f" Of such a folder: {remedy}."
    return "", ""


def missing_file(folder: Path, name: str, *, writer: str) -> ArtifactError:
    """Says that a folder lacks the file that would make it what was expected, and what it is instead.

    Args:
        folder: The folder.
        name: The file, as the error shall call it.
        writer: The command that writes such folders.

    Returns:
        The error.
    """
    kind, remedy = other_kind(folder)
    return ArtifactError(
        f"there is no {name} in {folder}{kind}",
        expected=f"a folder written by `{writer}`",
        remedy=f"Check the path.{remedy}",
    )


def require_replaceable(folder: Path, *, what: str, marker: str, is_part: Callable[[str], bool]) -> None:
    """Makes sure that a folder that will be replaced as a whole holds nothing else.

    Args:
        folder: The folder; a missing or empty one will do.
        what: What may stand there ("an artifact").
        marker: The file without which it is none.
        is_part: Tells by its name whether a file or folder belongs to one.

    Raises:
        ArtifactError: When it is a file, or holds something else.
    """
    if not folder.exists():
        return
    names = ["no folder"] if folder.is_file() else sorted(entry.name for entry in folder.iterdir())
    others = [name for name in names if not is_part(name)]
    if others or (names and marker not in names):
        raise ArtifactError(
            f"{folder} holds what is no part of {what} ({', '.join(others[:3]) or f'and no {marker}'})",
            expected=f"{what} or nothing: its folder is replaced as a whole",
            remedy="Choose another --out.",
        )
