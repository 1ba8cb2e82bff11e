"""Warm-up: fine-tunes a language model to answer from demonstrations, and measures it on tasks it has not seen.

MetaICL in its direct and channel form (Min et al., 2022), instruction tuning, and self-supervised training on plain
text (Chen et al., 2022) differ in the prompts only; all that are given are mixed, each task as likely as any other.

run.json          settings and fingerprints; compared on resume
metrics.jsonl     loss of every step
checkpoints/      the newest training state
evaluation.json   outcomes on held-out tasks, before and after
model/            the result: what `[lm] model` can name
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from policies.runs import METRICS_FILE, WARM_UP_RUN, open_run
from policies.warmup_config import WarmUpConfig
from policies.warmup_episodes import TrainingTask, corpus_tasks, documents_apart, labelled_tasks, training_text
from policies.warmup_evaluation import Gain, HeldOutPlan, few_shot_outcomes, gains, gains_as_json
from policies.warmup_model import merged, write_model_folder
from policies.warmup_training import train_model
from selector.data.paths import write_whole
from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import DataFileError, UsageError
from selector.evaluation.cells import examples_fingerprint
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model, load_model
from selector.progress import SILENT, Progress

EVALUATION_FILE, MODEL_FOLDER = "evaluation.json", "model"
DOCUMENTS = "documents of the corpus"


@dataclass(frozen=True)
class WarmUpMaterial:
    """What is learned from and measured on.

    Attributes:
        tasks: Training tasks; their pools are learned.
        documents: Plain texts that pose tasks of their own; may be empty.
        held_out: Tasks that are measured before and after; may be empty.
    """

    tasks: Sequence[Task] = ()
    documents: Sequence[str] = ()
    held_out: Sequence[Task] = ()

    def __post_init__(self) -> None:
        if not self.tasks and not self.documents:
            raise UsageError(
                "there is nothing to learn from",
                expected="training tasks, plain text or both",
                remedy="Pass --tasks A.toml,B.toml or --corpus FILE.",
            )


@dataclass(frozen=True)
class WarmedUp:
    """The outcome.

    Attributes:
        model: The folder that `[lm] model` can name.
        gains: Held-out task to gain, and "mean"; empty without held-out tasks.
    """

    model: Path
    gains: dict[str, Gain]


def read_documents(path: Path) -> list[str]:
    """Reads a corpus.

    Args:
        path: A text file in UTF-8; documents are parted by empty lines.

    Returns:
        The documents.

    Raises:
        DataFileError: When the file is missing, empty or not text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataFileError(
            f"{path} cannot be read ({type(error).__name__})", expected="a text file in UTF-8", remedy="Check the path."
        ) from error
    documents = [document.strip() for document in re.split(r"\n\s*\n", text) if document.strip()]
    if not documents:
        raise DataFileError(f"{path} is empty", expected="documents parted by empty lines", remedy="Check the file.")
    return documents


def warm_up(
    material: WarmUpMaterial,
    base: LanguageModelConfig,
    *,
    out: Path,
    config: WarmUpConfig,
    plan: HeldOutPlan,
    resume: bool = True,
    progress: Progress = SILENT,
) -> WarmedUp:
    """Trains, writes the model folder and measures it; goes on where it was stopped.

    Args:
        material: What is learned from and measured on.
        base: The language model to start from; loaded in this process.
        out: The run folder.
        config: How weights are changed.
        plan: How held-out tasks are measured.
        resume: Whether to go on with what the folder holds.
        progress: Shows steps and queries.

    Returns:
        The model folder and what it gains.

    Raises:
        UsageError: When the base runs elsewhere, a task is both trained on and held out or lacks an instruction that
            is wanted, or the folder holds another run.
        TemplateError: When a task has no channel form and that is what is trained.
        ModelLoadError: When the base cannot be loaded.
    """
    _require_local(base)
    tasks, left_out = _lessons(material, config)
    held_out = [task.instructed() for task in material.held_out] if config.instructions else material.held_out
    whole = replace(base, dtype="float32")  # bfloat16 has too few digits for small steps
    model, tokenizer, fingerprint = load_model(whole)
    card: dict[str, Any] = {
        "kind": WARM_UP_RUN,
        "base": base.model,
        "base_fingerprint": fingerprint,
        "config": asdict(config),
        "plan": asdict(plan),
        "tasks": [_described(task, left_out.get(task.name, 0)) for task in tasks],
        "held_out": [_examined(task, plan) for task in held_out],
    }
    if material.documents:
        card["documents"] = {"given": len(material.documents), "left_out": left_out[DOCUMENTS]}
    open_run(out, card, resume=resume)
    folder = out / MODEL_FOLDER
    exam = _Exam(held_out, plan, out / EVALUATION_FILE, config.form, progress)
    before = exam.outcomes("before", base)
    if not folder.is_dir():
        trained = train_model(model, tokenizer, tasks, config=config, folder=out, progress=progress)
        losses = [json.loads(line)["loss"] for line in (out / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
        card |= {"loss": {"first": losses[0], "last": losses[-1]}}
        write_model_folder(merged(trained), tokenizer, card=card, folder=folder)
    after = exam.outcomes("after", replace(base, model=str(folder), revision=None))
    found = gains(before, after)
    exam.keep("gains", gains_as_json(found))
    return WarmedUp(folder, found)


def _require_local(base: LanguageModelConfig) -> None:
    if base.server or base.engine != "local":
        raise UsageError(
            f"language model {base.model!r} runs on a {'server' if base.server else 'cluster'}",
            expected="a model in this process, whose weights can learn",
            remedy="Name a folder or a hub id with --base.",
        )


def _lessons(material: WarmUpMaterial, config: WarmUpConfig) -> tuple[list[TrainingTask], dict[str, int]]:
    """All training tasks; and of each, and of `DOCUMENTS`, what was left out for the sake of held-out tasks."""
    tasks, left_out = labelled_tasks(material.tasks, material.held_out, instructions=config.instructions)
    documents = documents_apart(material.documents, material.held_out)
    if material.documents:
        tasks += corpus_tasks(documents, rows=config.corpus_rows, instructions=config.instructions, seed=config.seed)
    if config.form == "channel":  # a template without this form fails here, not behind the first evaluation
        asked = [(task.template, task.pool[0]) for task in material.held_out if not task.template.free_text]
        for template, row in [*((task.template, task.rows[0]) for task in tasks), *asked]:
            training_text(template, (), row, form=config.form)
    return tasks, left_out | {DOCUMENTS: len(material.documents) - len(documents)}


def _examined(task: Task, plan: HeldOutPlan) -> dict[str, Any]:
    """Queries count with their texts: uids may be line numbers."""
    queries = examples_fingerprint(task.test[: plan.queries])
    return {"name": task.name, "fingerprint": task.fingerprint, "queries": queries}


def _described(task: TrainingTask, dropped: int) -> dict[str, Any]:
    rows = Pool(task.rows).fingerprint
    print_of = hashlib.sha256(f"{rows}{task.template.fingerprint}".encode()).hexdigest()
    return {"name": task.name, "rows": len(task.rows), "left_out": dropped, "fingerprint": print_of}


@dataclass(frozen=True)
class _Exam:
    """Outcomes on held-out tasks, kept in a file as they come."""

    tasks: Sequence[Task]
    plan: HeldOutPlan
    path: Path
    form: str
    progress: Progress

    def outcomes(self, stage: str, lm_config: LanguageModelConfig) -> dict[str, list[float]]:
        """Task to outcomes; what the file holds is not asked again."""
        found: dict[str, list[float]] = dict(self._there().get(stage, {}))
        missing = [task for task in self.tasks if task.name not in found]
        if missing:
            lm = load_language_model(lm_config)
            for task in missing:
                scoring = "direct" if task.template.free_text else self.form
                own = few_shot_outcomes(lm, task, plan=self.plan, scoring=scoring, progress=self.progress)
                found[task.name] = own.tolist()
                self.keep(stage, found)
        return found

    def keep(self, name: str, value: Any) -> None:
        """Adds to the file, or changes what is there under a name."""
        write_whole(self.path, json.dumps(self._there() | {name: value}, indent=1) + "\n")

    def _there(self) -> dict[str, Any]:
        there: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}
        return there
