"""A task: four splits that share nothing, a prompt template, a language model and an encoder, from one TOML file.

Loading a task reads data but loads no model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from selector.data.assets import is_bundled
from selector.data.bundled import load_bundled
from selector.data.loading import load_examples, load_hub_examples
from selector.data.paths import DATA_VARIABLE, data_folder
from selector.data.pool import Pool
from selector.data.splits import LeakReport, SplitSizes, split
from selector.data.task_file import read_task_file
from selector.errors import TaskFileError, TemplateError, UnknownLabelError, UsageError
from selector.inference.answers import answer_rule
from selector.inference.calibration import check_calibration
from selector.inference.scoring import scoring_function
from selector.lm.config import LanguageModelConfig
from selector.prompting.template import CHOICES, RATIONALE, PromptTemplate
from selector.retrieval.config import EncoderConfig
from selector.types import Example

BUNDLED_TASKS = Path(__file__).parent / "tasks"
BUNDLED_PREFIX, HUB_PREFIX, DATA_PREFIX = "bundled:", "hub:", "data:"


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
        choice_columns: The columns of data files that hold a row's choices; empty where labels are shared.
        label_column: The column that holds its label.
        reserve: Labelled rows that could stand in the pool as well, were it larger.
        instruction: What is to be done, in a sentence; prompts begin with it only where `instructed` makes them.
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
    choice_columns: tuple[str, ...] = ()
    label_column: str = "label"
    reserve: tuple[Example, ...] = ()
    instruction: str = ""

    @classmethod
    def load(cls, path: Path | str, *, seed: int | None = None, data_dir: Path | None = None) -> Task:
        """Loads a task.

        Args:
            path: A TASK.toml, or the name of a preset.
            seed: Draws the splits in place of [data] seed.
            data_dir: The folder of the data sets that the task names with "data:"; None takes the one that the
                environment variable SHOTSMITH_DATA names.

        Returns:
            The task; the same file and data give the same splits.

        Raises:
            TaskFileError: When the file is missing or wrong.
            DataFileError: When a data file is.
            TemplateError: When the template names a field that is no input.
            UnknownLabelError: When a label has no verbalizer, or a verbalizer no label in the pool.
            UnknownNameError: When scoring, calibration or the answer rule is not known.
            ExtraMissingError: When near duplicates are to be left out and datasketch is not installed.
        """
        file = task_path(path)
        document = read_task_file(file)
        if seed is not None:
            document["data"]["seed"] = seed
        return _task_of(document, file, data_dir)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The input fields of every example, in the order in which encoders read them; a template may show fewer."""
        return tuple(self.pool[0].fields)

    def instructed(self) -> Task:
        """Puts the instruction at the head of every prompt: that of the template, else the task's own.

        Returns:
            The task with that template.

        Raises:
            UsageError: When there is no instruction.
        """
        instruction = self.template.instruction or self.instruction
        if not instruction:
            raise UsageError(
                f"the task {self.name!r} has no instruction",
                expected="[prompt] instruction, or [about] instruction",
                remedy="Write one, or do without instructions.",
            )
        return replace(self, template=replace(self.template, instruction=instruction))

    def redrawn(self, seed: int) -> Task:
        """Draws another pool of the same size from pool and reserve; all other splits stay as they are.

        Args:
            seed: The seed of the draw.

        Returns:
            The task with that pool.

        Raises:
            UsageError: When there is no reserve, so that every pool would be the same, or the draw lacks a label.
        """
        if not self.reserve:
            raise UsageError(
                f"the pool of {self.name} holds all {len(self.pool):,} rows that it can",
                expected="rows to draw another pool from",
                remedy="Set [data] pool_size to fewer rows.",
            )
        rows = (*self.pool, *self.reserve)
        order = np.random.default_rng(seed).permutation(len(rows))
        members, left = order[: len(self.pool)], order[len(self.pool) :]
        pool = self.pool.remade(rows[at] for at in members)
        for example in pool:
            self.template.check(example)
        if lost := [label for label in self.template.labels if label not in pool.labels]:
            raise UsageError(
                f"the pool drawn with seed {seed} has no example of {lost[0]!r}",
                expected="examples of every label",
                remedy="Set [data] pool_size to more rows, or compare fewer pools.",
            )
        return replace(self, pool=pool, reserve=tuple(rows[at] for at in left))

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
        name: A path, or the name of a preset.

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
        expected=f"a TASK.toml or a preset ({known})",
        remedy="Check the path; `shotsmith tasks` lists the presets.",
    )


def _task_of(document: dict[str, dict[str, Any]], file: Path, data_dir: Path | None) -> Task:
    data, columns = document["data"], document["fields"]
    lm, encoder = LanguageModelConfig(**document["lm"]), EncoderConfig(**document["encoder"])
    lm = replace(lm, model=_model_beside(lm.model, file))
    encoder = replace(encoder, model=_model_beside(encoder.model, file))
    scoring_function(lm.scoring)
    check_calibration(lm.calibration)

    def rows(key: str) -> list[Example] | None:
        return _rows(located(data[key], file, data_dir), key, file, columns) if key in data else None

    train = rows("train") or []
    template = template_of(document, train)
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
        choice_columns=tuple(columns.get("choices", ())),
        label_column=columns["label"],
        reserve=splits.reserve,
        instruction=document["about"].get("instruction", ""),
    )


def located(source: str, file: Path, data_dir: Path | None) -> str:
    """Puts the folder of data sets, or of the task file, before what a task file names.

    Args:
        source: What [data] names.
        file: The task file.
        data_dir: The folder of data sets; None takes the one of the environment.

    Returns:
        A path; what is bundled or on the hub as it is.

    Raises:
        TaskFileError: When it starts with "data:" and no folder of data sets is named.
    """
    if source.startswith((BUNDLED_PREFIX, HUB_PREFIX)):
        return source
    if not source.startswith(DATA_PREFIX):
        return str(file.parent / source)
    folder = data_dir if data_dir is not None else data_folder()
    if folder is None:
        raise TaskFileError(
            f"the task {file.stem} reads {source} and no folder of data sets is named",
            expected="the folder that holds " + source.removeprefix(DATA_PREFIX),
            remedy=f"Set {DATA_VARIABLE}=DIR, or write shotsmith --data-dir DIR before the command.",
        )
    return str(folder / source.removeprefix(DATA_PREFIX))


def _model_beside(model: str, file: Path) -> str:
    """A model's folder or file where one of that name stands beside the task file, else the name as it is."""
    there = model and not is_bundled(model) and (file.parent / model).exists()
    return str(file.parent / model) if there else model


def _rows(source: str, key: str, file: Path, columns: dict[str, Any]) -> list[Example]:
    inputs = columns["inputs"]
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
        return load_hub_examples(name, hub_split=hub_split or key, split=key, **columns)
    return load_examples(Path(source), split=key, **columns)


def template_of(document: Mapping[str, Mapping[str, Any]], train: Sequence[Example]) -> PromptTemplate:
    """Makes the template of a task file.

    Args:
        document: From `read_task_file`.
        train: The training rows, whose labels verbalize themselves where [labels] is empty.

    Returns:
        The template.

    Raises:
        TemplateError: When it is wrong, or names a field that is no input.
        UnknownNameError: When the answer rule is not known.
    """
    columns, free_text = document["fields"], bool(document["prompt"].get("answer_tokens"))
    inputs, multiple_choice = columns["inputs"], "choices" in columns and not free_text
    shared = not (free_text or multiple_choice)
    found = sorted({example.label for example in train if example.label is not None}) if shared else ()
    template = PromptTemplate(
        # Labels of rows have no space around them either.
        verbalizers={name.strip(): text for name, text in document["labels"].items()}
        or {label: f" {label}" for label in found},
        multiple_choice=multiple_choice,
        **document["prompt"],
    )
    answer_rule(template.answer_rule)
    if taken := [name for name in (CHOICES, RATIONALE) if name in inputs]:
        raise TemplateError(
            f"[fields] inputs names {taken}",
            expected="fields of other names: {choices} and {rationale} have a meaning of their own",
            remedy="Set [fields] choices or [fields] rationale, or rename the columns.",
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
