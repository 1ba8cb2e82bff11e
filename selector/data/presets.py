"""The presets: task files that come with the package, with what each one is about.

Their rows are bundled, or lie in a folder of data sets that the user names. Describing a preset reads its task file and
looks whether the rows are there; nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selector.data.assets import find_bundled
from selector.data.task import BUNDLED_PREFIX, BUNDLED_TASKS, HUB_PREFIX, Task, located, template_of
from selector.data.task_file import read_task_file
from selector.errors import BundledPackageMissingError, TaskFileError, UnknownNameError
from selector.inference.answers import answer_rule
from selector.prompting.template import PromptTemplate

KINDS: Final = (
    "sentence",
    "sentence pair",
    "multiple choice",
    "open questions",
    "cloze",
    "semantic parsing",
    "reasoning",
)
"""What a preset asks for, in the order in which presets are listed."""


@dataclass(frozen=True)
class Preset:
    """What a preset is about.

    Attributes:
        name: As it is given to `Task.load`.
        kind: One of `KINDS`.
        description: One sentence.
        instruction: What is to be done, in a sentence; no prompt begins with it unless that is asked for.
        template: Its prompt template.
        scoring: How answers are scored.
        metric: What the share of right answers is called.
        sources: Split to what [data] names.
        found: Whether all its rows are on this machine.
    """

    name: str
    kind: str
    description: str
    instruction: str
    template: PromptTemplate
    scoring: str
    metric: str
    sources: Mapping[str, str]
    found: bool

    @property
    def answers(self) -> str:
        """What an answer is, in a few words."""
        if self.template.free_text:
            return f"text, {self.template.answer_tokens} tokens"
        return "own choices" if self.template.multiple_choice else f"{len(self.template.labels)} labels"


def preset_names() -> list[str]:
    """Lists the presets.

    Returns:
        Their names, in alphabetical order.
    """
    return sorted(file.stem for file in BUNDLED_TASKS.glob("*.toml"))


def preset_named(name: str, *, data_dir: Path | None = None) -> Preset:
    """Describes a preset.

    Args:
        name: Its name.
        data_dir: The folder of data sets; None takes the one that the environment variable SHOTSMITH_DATA names.

    Returns:
        The description.

    Raises:
        UnknownNameError: When there is none of that name, or it is of no known kind.
    """
    if name not in preset_names():
        raise UnknownNameError("preset", name, known=preset_names())
    file = BUNDLED_TASKS / f"{name}.toml"
    document = read_task_file(file)
    about, kind = document["about"], document["about"].get("kind", "")
    if kind not in KINDS:
        raise UnknownNameError(f"kind of the preset {name}", kind, known=KINDS)
    template = template_of(document, ())
    sources = {key: value for key, value in document["data"].items() if isinstance(value, str)}
    return Preset(
        name=name,
        kind=kind,
        description=about.get("description", ""),
        instruction=about.get("instruction", ""),
        template=template,
        scoring=document["lm"].get("scoring", "direct"),
        metric=answer_rule(template.answer_rule).metric if template.free_text else "accuracy",
        sources=sources,
        found=all(_is_there(source, file, data_dir) for source in sources.values()),
    )


def presets(*, data_dir: Path | None = None) -> list[Preset]:
    """Describes all presets.

    Args:
        data_dir: The folder of data sets; see `preset_named`.

    Returns:
        The descriptions, by kind and name.
    """
    found = [preset_named(name, data_dir=data_dir) for name in preset_names()]
    return sorted(found, key=lambda preset: (KINDS.index(preset.kind), preset.name))


def preset_details(preset: Preset, *, data_dir: Path | None = None) -> dict[str, Any]:
    """Puts a preset into plain values, with the prompt of its first test query where its rows are found.

    Args:
        preset: The preset.
        data_dir: The folder of data sets; see `preset_named`.

    Returns:
        What JSON can hold.
    """
    details = {
        "name": preset.name,
        "kind": preset.kind,
        "description": preset.description,
        "instruction": preset.instruction,
        "answers": preset.answers,
        "labels": dict(preset.template.verbalizers),
        "metric": preset.metric,
        "scoring": preset.scoring,
        "data": dict(preset.sources),
        "found": preset.found,
        "template": preset.template.template,
    }
    if preset.found:
        task = Task.load(preset.name, data_dir=data_dir)
        query = task.test[0]
        details |= {
            "rows": {
                name: len(part)
                for name, part in (("pool", task.pool), ("reward", task.reward), ("dev", task.dev), ("test", task.test))
            },
            "prompt": task.template.prompt([], query),
            "choices": list(query.choices),
            "gold": [query.label, *query.aliases],
        }
    return details


def _is_there(source: str, file: Path, data_dir: Path | None) -> bool:
    if source.startswith(HUB_PREFIX):
        return False
    try:
        if source.startswith(BUNDLED_PREFIX):
            find_bundled(source.removeprefix(BUNDLED_PREFIX))
            return True
        return Path(located(source, file, data_dir)).is_file()
    except (BundledPackageMissingError, TaskFileError):
        return False
