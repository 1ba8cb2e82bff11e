"""Which of the project's folders a folder is, for the errors of those who expected another one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

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
