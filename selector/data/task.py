"""A task: four splits that share nothing, a prompt template, a language model and an encoder, from one TOML file.

Loading a task reads data but loads no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from selector.data.bundled import load_bundled
from selector.data.loading import load_examples, load_hub_examples
from selector.data.pool import Pool
from selector.data.splits import LeakReport, SplitSizes, split
from selector.data.task_file import read_task_file
from selector.errors import TaskFileError, TemplateError, UnknownLabelError
from selector.inference.calibration import check_calibration
from selector.inference.scoring import scoring_function
from selector.lm.config import LanguageModelConfig
from selector.prompting.template import PromptTemplate
from selector.retrieval.config import EncoderConfig
from selector.types import Example

BUNDLED_TASKS = Path(__file__).parent / "tasks"
BUNDLED_PREFIX, HUB_PREFIX = "bundled:", "hub:"


@dataclass(frozen=True)
class Task:
    """Everything that says what is to be answered, with what, and how it is judged.

    Attributes:
        name: The stem of the task file.
        pool: The candidates for demonstrations.
        reward: Labelled queries on which policies are rewarded.
        dev: Labelled queries on which checkpoints and sets are chosen.
        test: Labelled queries on which methods are compared. The four splits share no text, nor nearly the same one
            where [data] near_duplicates says so.
        template: Turns examples into prompts.
        lm: Which language model, and how it scores.
        encoder: Which sentence encoder.
        leaks: How many rows were left out to keep the splits apart.
    """

    name: str
    pool: Pool
    reward: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: tuple[Example, ...]
    template: PromptTemplate
    lm: LanguageModelConfig
    encoder: EncoderConfig
    leaks: LeakReport

    @classmethod
    def load(cls, path: Path | str, *, seed: int | None = None) -> Task:
        """Loads a task.

        Args:
            path: A TASK.toml, or the name of a bundled task.
            seed: Draws the splits in place of [data] seed.

        Returns:
            The task; the same file and data give the same splits.

        Raises:
            TaskFileError: When the file is missing or wrong.
            DataFileError: When a data file is.
            TemplateError: When the template names a field that is no input.
            UnknownLabelError: When a label has no verbalizer, or a verbalizer no label in the pool.
            UnknownNameError: When scoring or calibration is not known.
            ExtraMissingError: When near duplicates are to be left out and datasketch is not installed.
        """
        file = task_path(path)
        document = read_task_file(file)
        if seed is not None:
            document["data"]["seed"] = seed
        return _task_of(document, file)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of pool, queries, template and what counts as a duplicate, hexadecimal."""
        queries = [[[row.uid, row.label] for row in rows] for rows in (self.reward, self.dev, self.test)]
        parts: list[object] = [self.pool.fingerprint, self.template.fingerprint, queries]
        if self.pool.near_duplicates is not None:
            parts.append(self.pool.near_duplicates)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def task_path(name: Path | str) -> Path:
    """Finds a task file.

    Args:
        name: A path, or the name of a bundled task.

    Returns:
        The path of the file.

    Raises:
        TaskFileError: When there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    bundled = BUNDLED_TASKS / f"{name}.toml"
    if str(name) == Path(name).name and bundled.is_file():
        return bundled
    known = ", ".join(sorted(file.stem for file in BUNDLED_TASKS.glob("*.toml")))
    raise TaskFileError(
        f"there is no task file {str(name)!r}",
        expected=f"a TASK.toml or a bundled task ({known})",
        remedy="Check the path.",
    )


def _task_of(document: dict[str, dict[str, Any]], file: Path) -> Task:
    data, columns = document["data"], document["fields"]
    lm, encoder = LanguageModelConfig(**document["lm"]), EncoderConfig(**document["encoder"])
    scoring_function(lm.scoring)
    check_calibration(lm.calibration)

    def rows(key: str) -> list[Example] | None:
        return _rows(data[key], key, file, columns) if key in data else None

    train = rows("train") or []
    template = _template(document, train, columns["inputs"])
    sizes = {size.name: data.get(f"{size.name}_size") for size in fields(SplitSizes)}
    splits = split(
        train,
        rows("test"),
        rows("dev"),
        sizes=SplitSizes(**sizes),
        seed=data.get("seed", 0),
        near_duplicates=data.get("near_duplicates"),
    )
    _check_labels(template, splits.pool, (*splits.reward, *splits.dev, *splits.test))
    return Task(
        name=file.stem,
        pool=splits.pool,
        reward=splits.reward,
        dev=splits.dev,
        test=splits.test,
        template=template,
        lm=lm,
        encoder=encoder,
        leaks=splits.leaks,
    )


def _rows(source: str, key: str, file: Path, columns: dict[str, Any]) -> list[Example]:
    inputs, label, uid = columns["inputs"], columns["label"], columns.get("uid")
    if source.startswith(BUNDLED_PREFIX):
        examples = load_bundled(source.removeprefix(BUNDLED_PREFIX))
        if list(inputs) != list(examples[0].fields):
            raise TaskFileError(
                f"{file}: [fields] inputs is {inputs}",
                expected=f"{list(examples[0].fields)}, the fields of {source}",
                remedy="Correct it.",
            )
        return examples
    if source.startswith(HUB_PREFIX):
        # "hub:ID" takes the split of the key's name; "hub:ID#SPLIT" names another.
        name, _, hub_split = source.removeprefix(HUB_PREFIX).partition("#")
        return load_hub_examples(name, hub_split=hub_split or key, inputs=inputs, label=label, split=key, uid=uid)
    return load_examples(file.parent / source, inputs=inputs, label=label, split=key, uid=uid)


def _template(document: dict[str, dict[str, Any]], train: Sequence[Example], inputs: Sequence[str]) -> PromptTemplate:
    free_text = bool(document["prompt"].get("answer_tokens"))
    found = () if free_text else sorted({example.label for example in train if example.label is not None})
    template = PromptTemplate(
        verbalizers=document["labels"] or {label: f" {label}" for label in found}, **document["prompt"]
    )
    if unknown := [name for name in template.input_fields if name not in inputs]:
        raise TemplateError(
            f"the template names the fields {unknown}",
            expected=f"fields of [fields] inputs, {list(inputs)}",
            remedy="Add them to [fields] inputs or correct [prompt] template.",
        )
    return template


def _check_labels(template: PromptTemplate, pool: Pool, queries: Sequence[Example]) -> None:
    for example in (*pool, *queries):
        template.check(example)
    for label in template.labels:
        if label not in pool.labels:
            raise UnknownLabelError(label, known=pool.labels)
