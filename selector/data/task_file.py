"""TASK.toml: what may stand in it, and one clear line for what may not.

This module knows the keys and their types; `selector.data.task` knows what they mean.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from selector.errors import TaskFileError

TEXT, COUNT, TEXTS, FLAG = "text", "a whole number of 0 or more", "a list of texts", "true or false"
SIMILARITY = "a number from 0.5 to 1"
KEYS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "about": {"kind": TEXT, "description": TEXT, "instruction": TEXT},
        "data": {
            "train": TEXT,
            "test": TEXT,
            "dev": TEXT,
            "pool_size": COUNT,
            "reward_size": COUNT,
            "dev_size": COUNT,
            "test_size": COUNT,
            "near_duplicates": SIMILARITY,
            "seed": COUNT,
        },
        "fields": {"inputs": TEXTS, "label": TEXT, "uid": TEXT, "choices": TEXTS, "rationale": TEXT},
        "prompt": {
            "template": TEXT,
            "separator": TEXT,
            "instruction": TEXT,
            "channel_template": TEXT,
            "domain_premise": TEXT,
            "answer_tokens": COUNT,
            "answer_rule": TEXT,
        },
        "labels": {},  # any label, verbalized as a text
        "lm": {
            "model": TEXT,
            "dtype": TEXT,
            "device": TEXT,
            "scoring": TEXT,
            "calibration": TEXT,
            "revision": TEXT,
            "trust_remote_code": FLAG,
            "memory_mib": COUNT,
            "server": TEXT,
            "api_key_variable": TEXT,
            "concurrency": COUNT,
            "context_length": COUNT,
            "engine": TEXT,
            "ray_address": TEXT,
            "ray_workers": COUNT,
        },
        "encoder": {"model": TEXT},
    }
)
REQUIRED: Final = (("data", "train"), ("fields", "inputs"), ("fields", "label"), ("prompt", "template"))


def read_task_file(path: Path) -> dict[str, dict[str, Any]]:
    """Reads and checks a task file.

    Args:
        path: The TASK.toml.

    Returns:
        Section to key to value; every section is there, every value has its type.

    Raises:
        TaskFileError: When the file is missing or not TOML, or a section, key or value is not understood.
    """
    if not path.is_file():
        raise TaskFileError(f"there is no task file {path}", expected="a TASK.toml", remedy="Check the path.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskFileError(
            f"{path} is not TOML ({error})", expected="a TOML file in UTF-8", remedy="Correct it."
        ) from error
    for section, content in document.items():
        _check_known("section", f"[{section}]", section, tuple(KEYS), path)
        if not isinstance(content, dict):
            raise TaskFileError(f"{path}: {section!r} is no section", expected=f"[{section}]", remedy="Correct it.")
        for key, value in content.items():
            _check_value(section, key, value, path)
    for section, key in REQUIRED:
        if key not in document.get(section, {}):
            raise TaskFileError(
                f"{path} has no [{section}] {key}", expected=f"{KEYS[section][key]} there", remedy="Add it."
            )
    return {section: dict(document.get(section, {})) for section in KEYS}


def _check_known(kind: str, shown: str, name: str, known: tuple[str, ...], path: Path) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise TaskFileError(
            f"{path} has the unknown {kind} {shown}",
            expected=f"one of {', '.join(known)}",
            remedy=f"Did you mean {close[0]!r}?" if close else "Remove it.",
        )


def _check_value(section: str, key: str, value: Any, path: Path) -> None:
    if section == "labels":
        kind = TEXT
    else:
        _check_known("key", f"[{section}] {key}", key, tuple(KEYS[section]), path)
        kind = KEYS[section][key]
    fits = {
        TEXT: isinstance(value, str),
        COUNT: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
        TEXTS: isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value),
        FLAG: isinstance(value, bool),
        SIMILARITY: isinstance(value, int | float) and not isinstance(value, bool) and 0.5 <= value <= 1,
    }[kind]
    if not fits:
        raise TaskFileError(f"{path}: [{section}] {key} is {value!r}", expected=kind, remedy="Correct the value.")
