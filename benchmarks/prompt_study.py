"""Does each thing that is done to a prompt help, against its absence, on real data?

    python -m benchmarks.prompt_study                                  everything; goes on where it was stopped
    python -m benchmarks.prompt_study --cells gsm8k:cot,sst2:templates --limit 2 --out FOLDER
    python -m benchmarks.tables                                        writes docs/results.md

A cell is a task and one thing: a way to reason (gsm8k, svamp, strategyqa, aqua) against direct answers; instructions,
templates or generated demonstrations (sst2, trec6). All answer the same test queries. Chain of thought and
self-consistency show the demonstrations that direct answers show; the other ways to reason show their own, or none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks import SHARED_DATA
from benchmarks.prompt_wordings import INSTRUCTIONS, TEMPLATES
from benchmarks.studied_tasks import studied_task
from selector.errors import UnknownNameError, UsageError
from selector.evaluation.statistics import paired_bootstrap
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.lm.base import LanguageModel
from selector.lm.config import LanguageModelConfig
from selector.lm.loading import load_language_model
from selector.progress import SILENT, Progress, RichProgress
from selector.prompting.generation import GeneratedSelector, GenerationConfig, generate_demonstrations
from selector.prompting.instructions import (
    BY_HAND,
    INDUCED,
    InductionConfig,
    induce_instructions,
    rank_instructions,
)
from selector.prompting.mutual_information import rank_templates
from selector.prompting.reasoning.auto_cot import AutoCoT
from selector.prompting.reasoning.chain import ReasoningConfig
from selector.prompting.reasoning.named import METHODS, ReasoningPlan, answer_all, build_reasoner
from selector.prompting.reasoning.problems import load_problems
from selector.prompting.reasoning.self_consistency import SamplingConfig
from selector.prompting.reasoning.trace import summarise
from selector.prompting.template import PromptTemplate
from selector.retrieval.config import EncoderConfig
from selector.retrieval.encoder import SentenceEncoder, TextEncoder
from selector.strategies.dense import NearestSelector
from selector.types import Example, Selection
from selector.workspace import Workspace

HERE = Path(__file__).resolve().parent
DATA = SHARED_DATA
RESULTS = HERE / "results" / "prompts"
MODEL: Final = LanguageModelConfig()
REASONED: Final = ("gsm8k", "svamp", "strategyqa", "aqua")
LABELLED: Final = ("sst2", "trec6")
PARTS: Final = ("instructions", "templates", "sg-icl")
CELLS: Final = tuple(
    f"{task}:{thing}"
    for tasks, things in ((LABELLED, PARTS), (REASONED, METHODS))
    for task in tasks
    for thing in things
)
Cell = dict[str, Any]
TRACES: Final = 3  # kept of each cell, for a reader to see what was written
_COUNTED: Final = (("malformed", "refused"), ("generations", "written"))
ROWS: Final = ("question", "prompt")  # of traces and stages: they hold rows of data sets, not ours to pass on


@dataclass(frozen=True)
class PromptStudyConfig:
    """What is the same for every cell, and must be when a stopped study goes on.

    Attributes:
        queries: Test queries of a cell.
        dev: Dev queries on which instructions are ranked, and inputs on which templates are.
        shots: Demonstrations in a prompt that reasons; labelled tasks show one or two of each label.
        questions: Training questions that Auto-CoT clusters.
        samples: Rationales that vote.
        rationale_tokens: The longest rationale, tokens.
        seed: Of demonstrations and of sampling.
    """

    queries: int = 24
    dev: int = 40
    shots: int = 4
    questions: int = 200
    samples: int = 5
    rationale_tokens: int = 128
    seed: int = 0


@dataclass(frozen=True)
class Models:
    """What cells are answered with; each is loaded when it is first needed.

    Attributes:
        lm: Gives the language model of the tasks that reason.
        encoder: Gives the encoder.
        workspace: Gives a labelled task with its models.
    """

    lm: Callable[[], LanguageModel]
    encoder: Callable[[], TextEncoder]
    workspace: Callable[[str], Workspace]


class PromptStudy:
    """Measures cells.

    Args:
        models: What they are answered with.
        config: What is the same for every cell.
        out: The folder of the results, a file for each cell.
        data: The folder of the data sets that are reasoned about.
        progress: Shows how far a cell is.
    """

    def __init__(
        self,
        models: Models,
        config: PromptStudyConfig,
        *,
        out: Path = RESULTS,
        data: Path = DATA,
        progress: Progress = SILENT,
    ) -> None:
        self.models, self.config, self.out, self.data, self.progress = models, config, out, data, progress

    def run(self, cells: Sequence[str]) -> None:
        """Measures the cells that are not measured yet, or with another language model or other data.

        Args:
            cells: Of `CELLS`.

        Raises:
            UnknownNameError: When a cell is not known.
            UsageError: When a result that is there was made with other settings.
        """
        if unknown := [cell for cell in cells if cell not in CELLS]:
            raise UnknownNameError("cell", unknown[0], known=CELLS)
        for name in cells:
            path = self.out / f"{name.replace(':', '-')}.json"
            settings = asdict(self.config)
            task, _, thing = name.partition(":")
            source = self._source(task)
            if path.is_file():
                made = json.loads(path.read_text(encoding="utf-8"))
                if made["settings"] != settings:
                    raise UsageError(
                        f"{path} was made with the settings {made['settings']}",
                        expected=str(settings),
                        remedy="Pass the same options, or another --out.",
                    )
                if source == {key: made.get(key) for key in source}:
                    continue
            start = time.monotonic()
            cell = self._reasoned(task, thing) if task in REASONED else self._labelled(task, thing)
            seconds = round(time.monotonic() - start, 1)
            self._write(path, cell | source | {"task": task, "thing": thing, "settings": settings, "seconds": seconds})
            shown = ", ".join(f"{variant} {100 * np.mean(right):.1f}" for variant, right in cell["right"].items())
            print(f"{name}: {shown} ({seconds} s)", flush=True)

    def _source(self, task: str) -> dict[str, str]:
        """Fingerprints of what a task's cells are measured with and on."""
        if task in REASONED:
            texts = [(self.data / task / f"{split}.jsonl").read_bytes() for split in ("train", "test")]
            return {"lm": self.models.lm().fingerprint, "data": hashlib.sha256(b"\0".join(texts)).hexdigest()}
        workspace = self.models.workspace(task)
        return {"lm": workspace.engine.lm.fingerprint, "data": workspace.task.fingerprint}

    def _reasoned(self, task: str, method: str) -> Cell:
        config, lm = self.config, self.models.lm()
        solved, kind = load_problems(self.data / task / "train.jsonl", split="train")
        asked, _ = load_problems(self.data / task / "test.jsonl", kind=kind, split="test")
        plan = ReasoningPlan(
            method,
            kind,
            shots=config.shots,
            seed=config.seed,
            writing=ReasoningConfig(rationale_tokens=config.rationale_tokens),
            sampling=SamplingConfig(samples=config.samples, seed=config.seed),
        )
        before = lm.usage
        given = solved[: config.questions] if method == "auto-cot" else solved
        built = build_reasoner(plan, lm, given, encoder=self.models.encoder, progress=self.progress)
        traces = answer_all(built.reasoner, asked[: config.queries], progress=self.progress)
        return {
            "right": {method: [int(trace.right is True) for trace in traces]},
            "answers": [[trace.answer, trace.gold] for trace in traces],
            "detail": asdict(summarise(traces)) | (_made(built.auto_cot) if built.auto_cot else {}),
            "usage": asdict(lm.usage - before),
            "traces": [_without_rows(trace.as_json()) for trace in traces[:TRACES]],
        }

    def _labelled(self, task: str, part: str) -> Cell:
        workspace = self.models.workspace(task)
        engine = workspace.engine
        before = engine.lm.usage
        measured = {"instructions": self._instructions, "templates": self._templates, "sg-icl": self._generated}[part]
        cell = measured(workspace, task, workspace.task.test[: self.config.queries])
        return cell | {"usage": asdict(engine.lm.usage - before)}

    def _instructions(self, workspace: Workspace, task: str, test: Sequence[Example]) -> Cell:
        engine, config = workspace.engine, self.config
        induction = induce_instructions(engine, config=InductionConfig(seed=config.seed), progress=self.progress)
        candidates = dict.fromkeys(INSTRUCTIONS[task], BY_HAND)
        for instruction in induction.instructions:
            candidates.setdefault(instruction, INDUCED)
        dev = workspace.task.dev[: config.dev]
        ranked = rank_instructions(engine, candidates, dev, progress=self.progress)
        best = {origin: next((one for one in ranked if one.origin == origin), None) for origin in (BY_HAND, INDUCED)}
        chosen = {"none": "", **{origin: one.instruction for origin, one in best.items() if one is not None}}
        right = {
            origin: _right(engine, replace(engine.template, instruction=text), test) for origin, text in chosen.items()
        }
        right["best on dev"] = right[ranked[0].origin]
        return {
            "right": right,
            "detail": {
                "chosen": chosen,
                "ranking": [[one.origin, one.instruction, one.accuracy, one.gold_logprob] for one in ranked],
                "refused": len(induction.proposals) - len(induction.instructions),
                "proposals": len(induction.proposals),
            },
        }

    def _templates(self, workspace: Workspace, task: str, test: Sequence[Example]) -> Cell:
        engine = workspace.engine
        templates = [engine.template, *(replace(engine.template, template=text) for text in TEMPLATES[task])]
        inputs = [replace(query, label=None) for query in workspace.task.dev[: self.config.dev]]
        ranked = rank_templates(engine, templates, inputs, progress=self.progress)
        each = [_right(engine, template, test) for template in templates]
        return {
            "right": {"most informative": each[ranked[0].place], "least informative": each[ranked[-1].place]},
            "detail": {
                "mutual_information": {one.template.template: one.mutual_information for one in ranked},
                "accuracy": {
                    template.template: float(np.mean(right)) for template, right in zip(templates, each, strict=True)
                },
                "mean": [float(np.mean(column)) for column in zip(*each, strict=True)],  # what any template gives
            },
        }

    def _generated(self, workspace: Workspace, task: str, test: Sequence[Example]) -> Cell:
        del task
        engine = workspace.engine
        per_label = max(1, self.config.shots // len(engine.labels))
        shots = per_label * len(engine.labels)
        config = GenerationConfig(per_label=per_label, seed=self.config.seed)
        made = generate_demonstrations(engine, test, config=config, progress=self.progress)
        nearest = NearestSelector(engine.pool, workspace.encoder)
        selections = {
            "none": [Selection.of()] * len(test),
            "generated": GeneratedSelector(made).select(test, shots),
            "nearest": nearest.select(test, shots),
            "mixed": GeneratedSelector(made, nearest).select(test, shots),
        }
        right = {}
        for variant, chosen in selections.items():
            predictions = made.engine.predict(test, chosen)
            right[variant] = [int(one.label == query.label) for one, query in zip(predictions, test, strict=True)]
        written = {"written": len(made.generations), "refused": made.refused, "generation": asdict(made.usage)}
        traces = [_without_rows(asdict(one)) for one in made.generations[:TRACES]]
        return {"right": right, "detail": {"shots": shots, **written}, "traces": traces}

    def _write(self, path: Path, cell: Cell) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")  # a kill while writing must not leave half a cell
        part.write_text(json.dumps(cell, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(path)


def _made(auto_cot: AutoCoT) -> dict[str, int]:
    """How many demonstrations were made, and of how many rationales that were written for them."""
    counts = {"written_first": auto_cot.written, "refused_first": auto_cot.refused}
    return {"auto_cot": len(auto_cot.demonstrations), **counts}


def _without_rows(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace with what was written and how it was read, without what the language model was given."""
    own = {name: value for name, value in trace.items() if name not in ROWS}
    return own | ({"stages": [_without_rows(stage) for stage in own["stages"]]} if "stages" in own else {})


def _right(engine: InferenceEngine, template: PromptTemplate, test: Sequence[Example]) -> list[int]:
    """Which test queries are answered rightly without demonstrations, 0 or 1 each."""
    answers = changed_engine(engine, template=template).predict(test, [Selection.of()] * len(test))
    return [int(one.label == query.label) for one, query in zip(answers, test, strict=True)]


def read_cells(folder: Path = RESULTS) -> list[Cell]:
    """Reads the cells that are measured.

    Args:
        folder: Where they are.

    Returns:
        The cells in the order of `CELLS`.
    """
    paths = [folder / f"{name.replace(':', '-')}.json" for name in CELLS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def _difference(own: Sequence[float], other: Sequence[float]) -> str:
    found = paired_bootstrap(np.array(own, dtype=float), np.array(other, dtype=float))
    return f"{100 * found.delta:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def prompt_lines(cells: Sequence[Cell]) -> list[str]:
    """Lays the study out: every variant with its accuracy and its difference from its absence.

    Args:
        cells: From `read_cells`.

    Returns:
        Lines of Markdown.
    """
    lines = [
        "| task | what | queries | accuracy, % | minus its absence, points | malformed | seconds |",
        "|---" * 7 + "|",
    ]
    for cell in cells:
        absence, name = _absence(cell, cells)
        for variant, right in cell["right"].items():
            what = variant if cell["thing"] in METHODS else f"{cell['thing']}: {variant}"
            known = absence is not None and len(absence) == len(right) and variant != name
            shown = f"{_difference(right, absence or ())} vs {name}" if known else ""
            row = [cell["task"], what, str(len(right)), f"{100 * np.mean(right):.1f}", shown, _malformed(cell)]
            lines.append(f"| {' | '.join(row)} | {cell['seconds']} |")
    return [*lines, ""]


def _absence(cell: Cell, cells: Sequence[Cell]) -> tuple[Sequence[float] | None, str]:
    """What a cell is compared with, and its name."""
    if cell["thing"] == "templates":
        return cell["detail"]["mean"], "the mean of all templates"
    if cell["thing"] in PARTS:
        return cell["right"]["none"], "none"
    direct = [one for one in cells if (one["task"], one["thing"]) == (cell["task"], "direct")]
    return (direct[0]["right"]["direct"] if direct else None), "direct"


def _malformed(cell: Mapping[str, Any]) -> str:
    detail = cell["detail"]
    if "malformed" in detail:  # with the rationales that Auto-CoT writes first, and refuses
        bad, of = (detail[name] + detail.get(f"{own}_first", 0) for name, own in _COUNTED)
        return f"{bad} of {of}"
    if "written" in detail:
        return f"{sum(detail['refused'].values())} of {detail['written']}"
    return f"{detail['refused']} of {detail['proposals']}" if "proposals" in detail else ""


def main(
    *,
    cells: Annotated[str, typer.Option(help="Comma-separated TASK:THING; else all.")] = ",".join(CELLS),
    limit: Annotated[int, typer.Option(min=1, help="Test queries of a cell.")] = PromptStudyConfig.queries,
    dev: Annotated[int, typer.Option(min=1, help="Dev queries.")] = PromptStudyConfig.dev,
    questions: Annotated[int, typer.Option(min=8, help="Questions of Auto-CoT.")] = PromptStudyConfig.questions,
    samples: Annotated[int, typer.Option(min=1, help="Rationales that vote.")] = PromptStudyConfig.samples,
    tokens: Annotated[int, typer.Option(min=1, help="The longest rationale.")] = PromptStudyConfig.rationale_tokens,
    seed: Annotated[int, typer.Option(min=0, help="Of demonstrations and sampling.")] = PromptStudyConfig.seed,
    out: Annotated[Path, typer.Option(help="The folder of the results.")] = RESULTS,
) -> None:
    """Runs the study."""
    config = PromptStudyConfig(
        queries=limit, dev=dev, questions=questions, samples=samples, rationale_tokens=tokens, seed=seed
    )
    models = Models(
        lm=cache(lambda: load_language_model(MODEL)),
        encoder=cache(lambda: SentenceEncoder.load(EncoderConfig().model)),
        workspace=cache(lambda task: Workspace(studied_task(task))),
    )
    PromptStudy(models, config, out=out, progress=RichProgress()).run([name.strip() for name in cells.split(",")])
    print("\n".join(prompt_lines(read_cells(out))))


if __name__ == "__main__":
    typer.run(main)
